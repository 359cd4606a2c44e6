"""A small dataset and the trained models of one pair."""

from __future__ import annotations

import pytest

import lico_bench
from lico_bench.models import build_classifier


@pytest.fixture(scope="module")
def dataset():
    return lico_bench.load_dataset("cifar10", "test", source="standin", limit=20)


@pytest.fixture(scope="module")
def models(dataset):
    return {
        arm: build_classifier(
            "wrn_10_1", num_classes=dataset.num_classes, mean=dataset.mean, std=dataset.std,
            seed=seed,
        ).eval()
        for seed, arm in enumerate(("baseline", "lico"))
    }  # fmt: skip
