"""Counts of a forward, against counts by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lico_bench.bench.compute_cost import forward_gigaflop, inference_cost
from lico_bench.models import Classifier


def small(channels: int) -> Classifier:
    features = nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )
    return Classifier(
        features, channels=channels, num_classes=5, mean=(0.5,) * 3, std=(0.2,) * 3
    )  # fmt: skip


def test_parameters_and_operations_are_those_counted_by_hand():
    found = inference_cost(small(4), (8, 6))
    # Convolution, normalisation's scale and shift, the last layer with its bias.
    assert found.parameters == 3 * 4 * 9 + 2 * 4 + 4 * 5 + 5
    # A multiplication and an addition per weight: at each of 48 pixels, then once.
    assert found.gigaflop == (2 * 3 * 4 * 9 * 48 + 2 * 4 * 5) / 1e9


def test_one_channel_more_is_seen_and_a_second_network_of_the_kind_is_equal():
    assert inference_cost(small(4), (8, 8)) == inference_cost(small(4), (8, 8))
    assert inference_cost(small(5), (8, 8)) != inference_cost(small(4), (8, 8))


def test_the_classifier_is_left_as_it_was():
    classifier = small(4).train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    inference_cost(classifier, (8, 8))
    assert classifier.training
    assert all(p.requires_grad for p in classifier.parameters())
    assert all(torch.equal(before[n], v) for n, v in classifier.state_dict().items())


def test_operations_of_a_forward_are_counted_by_hand():
    stem = 32 * 32 * 3 * 16 * 9
    groups = 0
    for group, (size, before) in enumerate(((32, 16), (16, 16), (8, 32))):
        wide = 16 * 2**group
        groups += size * size * 9 * (before * wide + wide * wide)
        groups += 0 if before == wide else size * size * before * wide
    assert forward_gigaflop("wrn_10_1", (32, 32)) == pytest.approx(2 * (stem + groups) / 1e9)
    assert isinstance(nn.Conv2d(3, 3, 1).weight, torch.Tensor)
