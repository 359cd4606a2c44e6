"""Registered metrics pass their checks, wrong ones fail."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lico_bench.evaluation.known_answers import findings_of
from lico_bench.metrics import METRICS
from tests.evaluation.known_answers.checked import described, entries, failed_checks, metric_of


@pytest.mark.parametrize("name", entries(METRICS))
def test_a_metric_puts_known_maps_in_their_order(scene, name: str):
    assert not described(findings_of(name, scene), "FAIL")


def flipped(inputs) -> Tensor:
    """Share of the map's mass outside the region instead of inside."""
    mass = inputs.maps.clamp_min(0) + 1e-9
    return (mass * ~inputs.regions).sum((1, 2)) / mass.sum((1, 2))


def guessing(inputs) -> Tensor:
    """A number derived from the image's name, independent of the map."""
    return torch.tensor([(hash_of(inputs.key(i)) % 997) / 997 for i in range(len(inputs.maps))])


def hash_of(text: str) -> int:
    return sum((i + 1) * 7919 * ord(letter) for i, letter in enumerate(text))


def by_neighbours(inputs) -> Tensor:
    """Mass on the region, divided by the maximum of the batch."""
    scaled = inputs.maps.clamp_min(0) / inputs.maps.max()
    return (scaled * inputs.regions).mean((1, 2))


def unbounded(inputs) -> Tensor:
    """Mass on the region, not normalised."""
    return (inputs.maps.abs() * inputs.regions).sum((1, 2))


def undefined_on_flat(inputs) -> Tensor:
    """Mass on the region after a rescale that divides by zero."""
    maps = inputs.maps - inputs.maps.amin((1, 2), keepdim=True)
    return (maps * inputs.regions).sum((1, 2)) / maps.sum((1, 2))


def in_place(inputs) -> Tensor:
    """Mass on the region; modifies the input maps."""
    mass = inputs.maps.clamp_(min=0) + 1e-9
    return (mass * inputs.regions).sum((1, 2)) / mass.sum((1, 2))


@pytest.mark.parametrize(
    ("compute", "check"),
    [
        (flipped, "oracle beats the random map (effect)"),
        (guessing, "oracle beats the random map (effect)"),
        (by_neighbours, "batch against single images: change of the values"),
        (unbounded, "excess over the declared bounds"),
        (undefined_on_flat, "maps without a finite value"),
        (in_place, "runs"),
    ],
)
def test_a_wrong_metric_fails(scene, monkeypatch, compute, check: str):
    monkeypatch.setitem(METRICS._entries, "wrong", metric_of(compute))
    assert check in failed_checks("wrong", scene)


def test_deletion_with_its_direction_flipped_fails_where_the_answer_is_known(scene, monkeypatch):
    right = METRICS["deletion"]
    wrong = replace(right, spec=replace(right.spec, higher_is_better=True, name="wrong"))
    monkeypatch.setitem(METRICS._entries, "wrong", wrong)
    failed = failed_checks("wrong", scene)
    assert "oracle beats the random map (effect)" in failed
    assert "linear network: contributions beat noise (effect)" in failed
