"""What a cell costs, counted before it is run: updates, forwards, operations, bytes.

The counts are exact for the network; the seconds made of them are rough: one speed for all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from lico_bench.bench.suite import Suite
from lico_bench.data import DatasetFacts
from lico_bench.metrics import METRICS
from lico_bench.models import BACKBONES
from lico_bench.records import Protocol, Recipe
from lico_bench.training import ARMS

BACKWARD_FACTOR = 2  # operations of a backward pass, in forwards
TEXT_GIGAFLOP_PER_TOKEN = 0.064  # MiniLM, forward and backward to its input: 3 * 2 * 10.6 M weights
TOKENS_PER_PROMPT = 17  # 12 of context, specials, a short name
ROW_BYTES = 6  # compressed Parquet, measured on a quick run
CURVE_BYTES = 4.5  # per point
BFLOAT16_SPEEDUP = 2.0


@dataclass(frozen=True)
class Work:
    """Counts of one cell.

    Attributes:
        updates: optimiser steps.
        train_images: pictures seen in training, repeats counted.
        forwards: pictures sent through the model by scoring.
        train_gigaflop, score_gigaflop: operations of the network and of the text encoder.
        disk_bytes: rows, curves and weights.
    """

    updates: int
    train_images: int
    forwards: int
    train_gigaflop: float
    score_gigaflop: float
    disk_bytes: int


def estimate_work(recipe: Recipe, facts: DatasetFacts, suite: Suite, protocol: Protocol) -> Work:
    """Counts for training `recipe` and scoring it as `suite` asks."""
    images = _train_images(recipe, facts)
    batch = min(recipe.batch_size, images)
    updates = max(1, images // recipe.batch_size) * recipe.epochs
    tested = facts.num_images("test")
    explained = min(suite.limit or tested, tested)
    has_curves = any("curves" in METRICS[name].spec.needs for name in suite.metrics)
    per_map = 1 + (2 * protocol.steps if has_curves else 0)
    forwards = tested + explained * per_map * len(suite.methods)
    each = forward_gigaflop(recipe.backbone, facts.image_size)
    text = 0.0
    if ARMS[recipe.arm].uses_text:
        prompts = min(batch, len(facts.class_names))
        text = updates * prompts * TOKENS_PER_PROMPT * TEXT_GIGAFLOP_PER_TOKEN
    speedup = BFLOAT16_SPEEDUP if recipe.precision == "bfloat16" else 1.0
    return Work(
        updates=updates,
        train_images=updates * batch,
        forwards=forwards,
        train_gigaflop=(updates * batch * each * (1 + BACKWARD_FACTOR) + text) / speedup,
        score_gigaflop=forwards * each,
        disk_bytes=int(
            ROW_BYTES * (2 * tested + explained * len(suite.methods) * len(suite.metrics))
            + CURVE_BYTES * 2 * (protocol.steps + 1) * explained * len(suite.methods)
            + 4 * parameter_count(recipe.backbone)
        ),
    )


@lru_cache(maxsize=64)
def forward_gigaflop(backbone: str, image_size: tuple[int, int]) -> float:
    """Operations of one picture's forward, 10⁹, counted by torch without running it."""
    with torch.device("meta"):
        features = BACKBONES[backbone].build()
        images = torch.empty(1, 3, *image_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        features.eval()(images)
    return float(counter.get_total_flops()) / 1e9


@lru_cache(maxsize=64)
def parameter_count(backbone: str) -> int:
    """Parameters of a backbone without its last layer."""
    with torch.device("meta"):
        return sum(p.numel() for p in BACKBONES[backbone].build().parameters())


def measure_speed(device: torch.device) -> float:
    """Operations per second, 10⁹, of small convolutions here: median of five short runs."""
    with torch.random.fork_rng(devices=[]):
        layer = (
            torch.nn.Conv2d(32, 32, 3, padding=1).to(device).to(memory_format=torch.channels_last)
        )
    images = torch.zeros(64, 32, 16, 16, device=device).to(memory_format=torch.channels_last)
    flop = 64 * 16 * 16 * 32 * 32 * 9 * 2 / 1e9
    rates = []
    with torch.inference_mode():
        layer(images)
        for _ in range(5):
            started = time.perf_counter()
            for _ in range(5):
                total = layer(images)
            float(total.sum())
            rates.append(5 * flop / (time.perf_counter() - started))
    return sorted(rates)[2]


def _train_images(recipe: Recipe, facts: DatasetFacts) -> int:
    images = facts.num_images("train")
    if recipe.labels != "full":
        images = min(images, recipe.labels)
    return min(images, recipe.train_limit or images)
