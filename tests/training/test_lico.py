"""The LICO arm: its terms are the public losses, and each trains what it declares."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from torch import nn

from lico_bench.errors import InvalidInputError, TrainingError
from lico_bench.losses import manifold_matching, transport_loss
from lico_bench.models import ENCODERS
from lico_bench.records import Output
from lico_bench.training import ARMS, Batch, Objective, Term
from lico_bench.training.distributed import SINGLE_PROCESS
from lico_bench.training.lico_objective import LicoObjective
from lico_bench.training.lico_options import LicoOptions
from lico_bench.training.loop import prepare
from lico_bench.training.objective import CROSS_ENTROPY, assert_terms_train, term_gradients

NAMES = ("airplane", "bird", "red-winged blackbird")


def keep_graph(value: torch.Tensor) -> None:
    value.backward(retain_graph=True)


@lru_cache
def encoder():
    return ENCODERS["minilm"].build(NAMES)


def build(**changes) -> LicoObjective:
    return LicoObjective(
        encoder(),
        num_classes=3,
        num_channels=8,
        num_positions=16,
        options=replace(LicoOptions(), **changes),
        generator=torch.Generator().manual_seed(0),
    )


@pytest.fixture
def objective() -> LicoObjective:
    return build().eval()


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(1)
    features = torch.rand(6, 8, 16, generator=rng).requires_grad_()
    logits = torch.randn(6, 3, generator=rng).requires_grad_()
    labels = torch.tensor([0, 2, 1, 1, 0, 2])
    return Batch(torch.rand(6, 3, 4, 4), labels, Output(logits, features), forbidden)


def forbidden(_images):
    raise AssertionError("LICO needs one forward")


def text_of(objective, batch):
    """G of each sample and its mask."""
    return objective._encode_prompts(batch.labels, SINGLE_PROCESS).tokens


def test_terms_are_the_public_losses_of_the_text_features(objective, batch):
    state = objective.get_extra_state()
    values = objective(batch)
    objective.set_extra_state(state)
    text, mask = text_of(objective, batch)
    features = batch.output.features
    assert torch.equal(values["transport"], transport_loss(features, text, token_mask=mask))
    assert torch.equal(
        values["manifold_matching"],
        manifold_matching(features, text, temperature=objective.temperature[0]),
    )
    total = values["cross_entropy"] + 10 * values["manifold_matching"] + values["transport"]
    assert torch.allclose(objective.total(values), total)


def test_text_features_are_per_token_and_padding_is_zero(objective, batch):
    text, mask = text_of(objective, batch)
    lengths = mask.sum(1)
    assert text.shape == (6, int(lengths.max()), 16)
    assert lengths[0] == 13  # 12 of context and one of "airplane"
    assert lengths[1] > 13
    assert (text[~mask] == 0).all()
    assert torch.equal(text[0], text[4])  # one class, one prompt


def test_the_context_is_shuffled_at_each_step(batch):
    for shuffles in (True, False):
        objective = build(shuffle_context=shuffles).eval()
        first, second = (text_of(objective, batch)[0] for _ in range(2))
        assert torch.equal(first, second) is not shuffles


def test_dropout_draws_in_training_only(batch):
    objective = build(shuffle_context=False)
    first, second = (text_of(objective, batch)[0] for _ in range(2))
    assert not torch.equal(first, second)
    objective.eval()
    first, second = (text_of(objective, batch)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_the_encoder_is_neither_trained_nor_stored(recipe):
    session = prepare(recipe, device="cpu")
    next(session.run_epoch())
    trained = {id(p) for group in session.optimizer.param_groups for p in group["params"]}
    own = sum(p.numel() for part in session.objective.parts().values() for p in part)
    assert own == sum(p.numel() for p in session.objective.parameters())
    assert own < 1e6  # MiniLM alone has 22 million
    assert {id(p) for p in session.objective.parameters()} <= trained
    assert len(session.optimizer.state) == len(trained)


def test_context_and_temperature_have_no_weight_decay(objective):
    groups = objective.parameter_groups()
    assert [group.get("weight_decay") for group in groups] == [None, 0.0]
    assert any(p is objective.prompts.tokens for p in groups[1]["params"])
    assert any(p is objective.temperature for p in groups[1]["params"])


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_what_its_terms_declare(recipe, arm: str):
    session = prepare(replace(recipe, arm=arm), device="cpu")
    images, labels = next(session._batches(skip=0))
    session.classifier.train()
    output = session.classifier(images)
    values = session.objective(Batch(images, labels, output, session.classifier))
    assert set(values) == {term.name for term in session.objective.terms}
    gradients = term_gradients(session.objective, values, session.classifier, keep_graph)
    assert_terms_train(session.objective, gradients)
    for term in session.objective.terms:
        reached = {part for part, norm in gradients[term.name].items() if norm > 0}
        assert reached == set(term.trains), term.name  # nothing is trained unsaid either
    assert all(p.grad is None for p in session.classifier.parameters())


class DeadObjective(Objective):
    """A second term cut out of the graph, as in the released code."""

    terms = (CROSS_ENTROPY, Term("transport", 1.0, ("features",)))

    def forward(self, batch):
        constant = batch.output.features.detach().square().mean()
        return {**super().forward(batch), "transport": constant}


class HalfDeadObjective(DeadObjective):
    """A second term that reaches the classifier's head and not its features."""

    def forward(self, batch):
        return {**super().forward(batch), "transport": batch.output.logits.sum() * 0.0}


@pytest.mark.parametrize("objective_class", [DeadObjective, HalfDeadObjective])
def test_a_term_that_trains_nothing_is_an_error(objective_class):
    classifier = nn.ModuleDict({"features": nn.Linear(4, 4), "head": nn.Linear(4, 3)})
    features = classifier["features"](torch.rand(2, 4))
    output = Output(classifier["head"](features), features[:, None])
    objective = objective_class()
    values = objective(Batch(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]), output, forbidden))
    gradients = term_gradients(objective, values, classifier, keep_graph)
    with pytest.raises(TrainingError, match="'transport': its gradient on features is 0"):
        assert_terms_train(objective, gradients)


def test_a_gradient_norm_is_of_the_weighted_term(objective, batch):
    classifier = nn.ModuleDict({"features": nn.Linear(16, 16), "head": nn.Linear(16, 3)})
    maps = classifier["features"](batch.output.features)
    batch = batch._replace(output=Output(classifier["head"](maps.mean(1)), maps))
    norms = []
    for alpha in (10.0, 5.0):
        arm = build(shuffle_context=False, alpha=alpha).eval()
        gradients = term_gradients(arm, arm(batch), classifier, keep_graph)
        norms.append(gradients["manifold_matching"]["features"])
    assert norms[0] == pytest.approx(2 * norms[1], rel=1e-4)


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


def test_prompts_of_several_copies_are_not_held():
    with pytest.raises(InvalidInputError, match="text_every 2"):
        LicoOptions(text_every=2, copies="rolled")


@pytest.mark.parametrize(
    ("options", "factors"),
    [
        ({}, {0.0: 1.0, 0.5: 1.0, 0.99: 1.0}),
        ({"weights_warmup_frac": 0.5}, {0.0: 0.0, 0.25: 0.5, 0.5: 1.0, 0.9: 1.0}),
        ({"weights_schedule": "linear"}, {0.0: 1.0, 0.25: 0.75}),
        ({"weights_schedule": "cosine"}, {0.0: 1.0, 0.5: 0.5}),
        (
            {"weights_warmup_frac": 0.2, "weights_schedule": "cosine"},
            {0.1: 0.5, 0.2: 1.0, 0.6: 0.5},
        ),
    ],
)
def test_warmup_and_schedule_scale_alpha_and_beta_and_not_the_cross_entropy(
    batch, options, factors
):
    objective = build(alpha=10.0, beta=0.5, **options).eval()
    values = objective(batch)
    added = 10 * values["manifold_matching"] + 0.5 * values["transport"]
    for position, factor in factors.items():
        expected = values["cross_entropy"] + factor * added
        assert torch.allclose(objective.total(values, position=position), expected)


def test_a_warmup_starts_as_the_baseline_and_changes_the_training(recipe):
    lico = replace(recipe, arm="lico", text_encoder="random")
    warm = replace(lico, objective=(("weights_warmup_frac", 0.9),))
    first, second = {}, {}
    for name, each in (("baseline", replace(lico, arm="baseline")), ("lico", lico), ("warm", warm)):
        session = prepare(each, device="cpu")
        steps = session.run_epoch()
        for weights in (first, second):
            next(steps)  # the first update of a warm-up has weight 0
            weights[name] = next(session.classifier.features.parameters()).detach().clone()
    assert torch.equal(first["warm"], first["baseline"])
    assert not torch.equal(first["lico"], first["baseline"])
    assert not torch.equal(second["warm"], second["baseline"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights_warmup_frac": 1.0}, "expected a share of the training"),
        ({"weights_schedule": "step"}, "weights_schedule"),
    ],
)
def test_a_wrong_schedule_of_the_weights_is_refused(options, message: str):
    with pytest.raises(InvalidInputError, match=message):
        LicoOptions(**options)
