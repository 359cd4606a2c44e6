"""A small objective of a LICO arm, and a batch for it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from lico_bench.models import ENCODERS
from lico_bench.training import ARMS
from lico_bench.training.distributed import SINGLE_PROCESS
from lico_bench.training.lico_objective import LicoObjective

NAMES = ("airplane", "bird", "red-winged blackbird")
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])


@lru_cache
def encoder():
    return ENCODERS["minilm"].build(NAMES)


def build(arm: str = "lico", **changes) -> LicoObjective:
    return LicoObjective(
        encoder(),
        num_classes=3,
        num_channels=8,
        num_positions=16,
        options=replace(ARMS[arm].options, **changes),
        generator=torch.Generator().manual_seed(0),
    )


def without_draws(arm: str, **changes) -> LicoObjective:
    """The objective of an arm with nothing random in a step."""
    return build(arm, shuffle_context=False, dropout=0.0, **changes)


def text_of(objective, batch):
    """G of each sample and its mask."""
    return objective._encode_prompts(batch.labels, SINGLE_PROCESS).tokens


def forbidden(_images):
    raise AssertionError("LICO needs one forward")
