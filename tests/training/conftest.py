"""A small recipe on drawn scenes, for tests that really train."""

from __future__ import annotations

import pytest

from lico_bench.records import Recipe


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
