"""Averaged weights, clipping and compilation: what they change and what they leave alone."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch

from lico_bench.training import train
from lico_bench.training.loop import prepare


def weights_after_each_step(recipe):
    session = prepare(recipe, device="cpu")
    seen = []
    for _ in range(recipe.epochs):
        for _ in session.run_epoch():
            now = {n: p.detach().clone() for n, p in session.classifier.named_parameters()}
            seen.append(now)
    return session, seen


def test_averaged_weights_are_the_running_mean_of_the_trained(recipe):
    recipe = replace(recipe, arm="baseline", ema_decay=0.7)
    session, seen = weights_after_each_step(recipe)
    result = session.finish().state_dict()
    name = "head.weight"
    expected = seen[0][name]
    for step in seen[1:]:
        expected = 0.7 * expected + 0.3 * step[name]
    assert torch.allclose(result[name], expected, atol=1e-6)
    assert not torch.allclose(result[name], seen[-1][name], atol=1e-6)


def test_averaging_leaves_the_training_alone(recipe):
    recipe = replace(recipe, arm="baseline")
    _, plain = weights_after_each_step(recipe)
    _, averaged = weights_after_each_step(replace(recipe, ema_decay=0.9))
    assert all(torch.equal(plain[-1][n], averaged[-1][n]) for n in plain[-1])


def test_a_resumed_average_ends_with_the_same_bits(recipe):
    recipe, kept = replace(recipe, arm="baseline", ema_decay=0.9), []
    whole = train(recipe, device="cpu", keep=lambda state: kept.append(deepcopy(state)))
    again = train(recipe, device="cpu", state=kept[0]).classifier.state_dict()
    ours = whole.classifier.state_dict()
    assert all(torch.equal(ours[name], again[name]) for name in ours)


def test_clipping_bounds_the_step(recipe):
    """With momentum 0 and no decay, a step is the rate times a gradient of at most that norm."""
    recipe = replace(
        recipe, arm="baseline", momentum=0.0, weight_decay=0.0, schedule="constant",
        learning_rate=1.0, gradient_clip=0.01, epochs=1,
    )  # fmt: skip
    _, seen = weights_after_each_step(recipe)
    moved = torch.cat([(b - a).flatten() for a, b in zip(
        seen[0].values(), seen[1].values(), strict=True)])  # fmt: skip
    assert moved.norm() <= 0.01 * (1 + 1e-3)
    assert moved.norm() > 0.009
