"""Registered methods pass their checks, wrong ones fail."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lico_bench.evaluation.known_answers import findings_of
from lico_bench.saliency import SALIENCY, SaliencyMethod
from tests.evaluation.known_answers.checked import described, entries, failed_checks


@pytest.mark.parametrize("name", entries(SALIENCY))
def test_a_method_shows_the_known_reason(scene, name: str):
    assert not described(findings_of(name, scene, is_alone=False), "FAIL")


def brightness(_model, images: Tensor, _targets: Tensor) -> Tensor:
    return images.mean(1)


def noise(_model, images: Tensor, _targets: Tensor) -> Tensor:
    return torch.frac(images.sum(1) * 9973.7).abs()


def of_the_first_class(model, images: Tensor, targets: Tensor) -> Tensor:
    return SALIENCY["gradient"].compute(model, images, torch.zeros_like(targets))


def by_batch(model, images: Tensor, targets: Tensor) -> Tensor:
    maps = SALIENCY["gradient"].compute(model, images, targets)
    return maps / maps.max()


def counting(model, images: Tensor, targets: Tensor) -> Tensor:
    model.mean.add_(1e-3)
    return SALIENCY["gradient"].compute(model, images, targets)


@pytest.mark.parametrize(
    ("compute", "checks"),
    [
        (
            brightness,
            {
                "correlation with the maps of an untrained network",
                "peaks on the square of the target colour",
                "correlation with the weights of a linear network",
            },
        ),
        (
            noise,
            {
                "ROC AUC of the region",
                "energy on the region",
                "correlation with the maps of an untrained network",
            },
        ),
        (of_the_first_class, {"peaks on the square of the target colour"}),
        (by_batch, {"batch against single images: change of the maps"}),
        (counting, {"state changed in a model in training mode"}),
    ],
)
def test_a_wrong_method_fails(scene, monkeypatch, compute, checks: set[str]):
    entry = SaliencyMethod(title="Wrong", source="a test", compute=compute, family="gradient")
    monkeypatch.setitem(SALIENCY._entries, "wrong", entry)
    assert checks <= failed_checks("wrong", copy.deepcopy(scene))


def test_a_method_that_is_called_a_control_must_not_look_at_the_model(scene, monkeypatch):
    entry = replace(SALIENCY["gradient"], family="control")
    monkeypatch.setitem(SALIENCY._entries, "wrong", entry)
    assert failed_checks("wrong", scene) == {"control: change with the model"}
