"""A small recipe on drawn scenes, for tests that really train, and a batch for an objective."""

from __future__ import annotations

import pytest
import torch

from lico_bench.records import Output, Recipe
from lico_bench.training import Batch
from lico_bench.training.lico_objective import LicoObjective
from tests.training.lico_case import LABELS, build, forbidden


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        dataset="cifar10",
        backbone="wrn_10_1",
        arm="lico",
        source="standin",
        train_limit=48,
        epochs=2,
        batch_size=16,
        learning_rate=0.05,
    )


@pytest.fixture
def batch() -> Batch:
    rng = torch.Generator().manual_seed(1)
    features = torch.rand(6, 8, 16, generator=rng).requires_grad_()
    logits = torch.randn(6, 3, generator=rng).requires_grad_()
    return Batch(torch.rand(6, 3, 4, 4), LABELS, Output(logits, features), forbidden)


@pytest.fixture
def objective() -> LicoObjective:
    return build().eval()
