"""Prompts: their context, and when the text encoder reads them."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from lico_bench.training.distributed import SINGLE_PROCESS
from lico_bench.training.loop import prepare
from tests.training.lico_case import (
    build,
    text_of,
    without_draws,
)


def test_the_context_is_shuffled_at_each_step(batch):
    for shuffles in (True, False):
        objective = build(shuffle_context=shuffles).eval()
        first, second = (text_of(objective, batch)[0] for _ in range(2))
        assert torch.equal(first, second) is not shuffles


def test_prompts_are_read_once_in_text_every_updates_and_held_between(batch):
    objective = build(text_every=3, dropout=0.0).train()
    readings = []
    encode = objective.prompts.forward

    def counted(*args, **options):
        readings.append(int(objective.held.updates))
        return encode(*args, **options)

    objective.prompts.forward = counted
    gradients = []
    for _ in range(6):
        objective.zero_grad(set_to_none=True)
        objective.total(objective(batch)).backward(retain_graph=True)
        gradients.append(
            (objective.prompts.tokens.grad is not None, objective.outer.weight.grad is not None)
        )
    assert readings == [1, 4]  # counted from 1: the update that is under way
    assert gradients == [(True, True), (False, True), (False, True)] * 2


def test_held_prompts_are_those_that_were_read(batch):
    objective = build(text_every=2, dropout=0.0, shuffle_context=False).train()
    first, second = (text_of(objective, batch) for _ in range(2))
    every = text_of(build(dropout=0.0, shuffle_context=False).train(), batch)
    for held in (first, second):
        assert torch.equal(held[1], every[1])
        assert torch.allclose(held[0], every[0], atol=1e-5)  # batches of prompts of another size


def test_a_training_resumed_between_two_readings_goes_on_with_the_same_bits(recipe):
    changed = replace(recipe, arm="lico", objective=(("text_every", 4),))
    whole = prepare(changed, device="cpu")
    epoch = whole.run_epoch()
    assert [next(epoch), next(epoch)] == [1, 2]  # the prompts were read before the first
    state = copy.deepcopy(whole.state())
    resumed = prepare(changed, device="cpu")
    resumed.restore(state)
    for session, under_way in ((whole, epoch), (resumed, resumed.run_epoch())):
        list(under_way)
        while session.epoch < changed.epochs:
            list(session.run_epoch())
    ends = [session.classifier.state_dict() for session in (whole, resumed)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_contexts_that_start_alike_are_one_roll_of_one_draw():
    tokens = build("lico_authors_code").prompts.tokens.detach()
    plain = build("lico").prompts.tokens.detach()
    assert tokens.shape == (12, 1, 12, 384)
    assert all(torch.equal(copy, plain[0].roll(1, 1)) for copy in tokens)


def test_a_context_per_class_differs_between_classes():
    objective = build("lico_fletcher_january")
    assert objective.prompts.tokens.shape == (1, 3, 12, 384)
    assert not torch.equal(*objective.prompts.tokens[0, :2])


def test_all_classes_are_read_where_a_reading_says_so(batch):
    objective = without_draws("lico", ot_points="all_classes")
    only = batch._replace(labels=torch.zeros(6, dtype=torch.int64))
    points, _ = objective._encode_prompts(only.labels, SINGLE_PROCESS).all_classes()
    assert points.shape == (6, 3, 16)
