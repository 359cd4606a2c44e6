"""The arms that reproduce what each party computed, and the switches they are made of."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from lico_bench.errors import InvalidInputError, TrainingError
from lico_bench.losses import affinity, transport_loss
from lico_bench.models import ENCODERS
from lico_bench.records import Output
from lico_bench.training import ARMS, Batch
from lico_bench.training.arms.lico import names_for_prompts
from lico_bench.training.distributed import SINGLE_PROCESS
from lico_bench.training.lico_objective import LicoObjective
from lico_bench.training.lico_options import CHOICES, LicoOptions
from lico_bench.training.loop import prepare

CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
NAMES = ("airplane", "bird", "red-winged blackbird")
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])
LICO_ARMS = [name for name in ARMS if isinstance(ARMS[name].options, LicoOptions)]


@lru_cache
def encoder():
    return ENCODERS["minilm"].build(NAMES)


def build(arm: str = "lico", **changes) -> LicoObjective:
    return LicoObjective(
        encoder(),
        num_classes=3,
        num_channels=8,
        num_positions=16,
        options=replace(ARMS[arm].options, **changes),
        generator=torch.Generator().manual_seed(0),
    )


@pytest.fixture
def batch() -> Batch:
    rng = torch.Generator().manual_seed(1)
    features = torch.rand(6, 8, 16, generator=rng).requires_grad_()
    logits = torch.randn(6, 3, generator=rng).requires_grad_()
    return Batch(torch.rand(6, 3, 4, 4), LABELS, Output(logits, features), lambda _: None)


def without_draws(arm: str, **changes) -> LicoObjective:
    """The objective of an arm with nothing random in a step."""
    return build(arm, shuffle_context=False, dropout=0.0, **changes)


def test_the_released_codes_transport_is_a_constant(batch):
    values = build("lico_authors_code")(batch)
    assert not values["transport"].requires_grad
    declared = {term.name: term for term in build("lico_authors_code").terms}
    assert declared["transport"].trains == ()
    assert values["manifold_matching"].requires_grad
    assert "encoder" in declared["manifold_matching"].trains


def test_the_released_code_weighs_far_samples_more(batch):
    objective = without_draws("lico_authors_code", mm_index="once")
    value = objective(batch)["manifold_matching"]
    prompt_vectors = objective._encode_prompts(LABELS, SINGLE_PROCESS).pooled()
    pooled = batch.output.features.mean(2)
    of_image, of_text = (
        affinity(side, temperature=objective.temperature[0], sign=1, least_distance=0.01)
        for side in (pooled, prompt_vectors)
    )
    expected = (of_text * (of_text.log() - of_image.log())).sum(1).mean()
    assert torch.allclose(value, expected, atol=1e-6)


def test_the_released_code_takes_the_text_of_another_sample(batch):
    objective = without_draws("lico_authors_code")
    prompt_vectors = objective._encode_prompts(LABELS, SINGLE_PROCESS).pooled()
    once = without_draws("lico_authors_code", mm_index="once")
    mixed = batch._replace(labels=LABELS[LABELS])  # the class whose text row i is given
    assert torch.equal(
        once._encode_prompts(mixed.labels, SINGLE_PROCESS).pooled(), prompt_vectors[LABELS]
    )
    assert not torch.equal(objective(batch)["manifold_matching"], once(batch)["manifold_matching"])


def test_the_responses_text_points_are_rolled_contexts(batch):
    objective = without_draws("lico_response")
    points, mask = objective._encode_prompts(LABELS, SINGLE_PROCESS).rolled_contexts()
    assert points.shape == (6, 12, 16)
    assert mask is None
    context = objective.prompts.tokens.detach()[0, 0]
    third = encoder().encode(context.roll(3, 0), torch.tensor([2])).pooled
    assert torch.allclose(points[1, 3], objective._project(third)[0], atol=1e-5)
    values = objective(batch)
    assert torch.equal(values["transport"], transport_loss(batch.output.features, points))


def test_contexts_that_start_alike_are_one_roll_of_one_draw():
    tokens = build("lico_authors_code").prompts.tokens.detach()
    plain = build("lico").prompts.tokens.detach()
    assert tokens.shape == (12, 1, 12, 384)
    assert all(torch.equal(copy, plain[0].roll(1, 1)) for copy in tokens)


def test_fletchers_text_points_are_the_prompts_of_the_batch(batch):
    objective = without_draws("lico_fletcher")
    points, _ = objective._encode_prompts(LABELS, SINGLE_PROCESS).batch_prompts()
    assert points.shape == (6, 6, 16)
    assert torch.equal(points[0], points[5])
    assert torch.equal(points[0, 1], points[0, 5])  # two samples of one class
    assert not torch.equal(points[0, 0], points[0, 1])


def test_a_context_per_class_differs_between_classes():
    objective = build("lico_fletcher_january")
    assert objective.prompts.tokens.shape == (1, 3, 12, 384)
    assert not torch.equal(*objective.prompts.tokens[0, :2])


def test_bartaks_padding_carries_mass(batch):
    objective = without_draws("lico_bartak")
    text = objective._encode_prompts(LABELS, SINGLE_PROCESS)
    rows, mask = text.tokens
    assert mask.all()
    assert (rows[0, -1] != 0).any()
    value = objective(batch)["transport"]
    expected = transport_loss(
        batch.output.features, rows, epsilon=1e-4, gradient="full", max_iterations=100
    )
    assert torch.equal(value, expected)


def test_bartaks_temperature_is_held_in_its_range(batch):
    objective = without_draws("lico_bartak")
    with torch.no_grad():
        objective.temperature.fill_(9.0)
    values = objective(batch)
    assert objective.diagnostics()["temperature"] == pytest.approx(4.6052)
    values["manifold_matching"].backward()
    assert objective.temperature.grad.abs().sum() > 0  # so that it can come back


def test_all_classes_are_read_where_a_reading_says_so(batch):
    objective = without_draws("lico", ot_points="all_classes")
    only = batch._replace(labels=torch.zeros(6, dtype=torch.int64))
    points, _ = objective._encode_prompts(only.labels, SINGLE_PROCESS).all_classes()
    assert points.shape == (6, 3, 16)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("card", CIFAR10),
        ("authors", ("plane", "car", "automobile", *CIFAR10[3:])),
        ("sorted", tuple(sorted(CIFAR10))),
    ],
)
def test_names_of_the_prompts_follow_the_reading(choice, expected):
    assert names_for_prompts(CIFAR10, choice, torch.Generator()) == expected


def test_sorted_names_give_another_name_to_those_that_published_code_did():
    torchvision_order = (
        "plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    given = names_for_prompts(torchvision_order, "sorted", torch.Generator())
    wrong = [i for i in range(10) if given[i] != torchvision_order[i]]
    assert wrong == [0, 2, 3, 4, 5, 6, 7]  # research: seven of ten


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_names_leave_nobody_its_own_and_lose_none(seed):
    rng = torch.Generator().manual_seed(seed)
    given = names_for_prompts(CIFAR10, "shuffled", rng)
    assert sorted(given) == sorted(CIFAR10)
    assert all(ours != theirs for ours, theirs in zip(given, CIFAR10, strict=True))
    assert torch.equal(rng.get_state(), torch.Generator().manual_seed(seed).get_state())
    assert given == names_for_prompts(CIFAR10, "shuffled", rng)


def test_random_text_takes_its_own_encoder_whatever_the_recipe_says(recipe):
    arm = ARMS["lico_random_text"]
    assert arm.encoder_for(recipe) == "random"
    assert ARMS["lico"].encoder_for(recipe) == "minilm"
    assert ARMS["baseline"].encoder_for(recipe) is None


def test_ablations_leave_the_other_term_out():
    assert [t.name for t in build("lico_mm").terms] == ["cross_entropy", "manifold_matching"]
    assert [t.name for t in build("lico_ot").terms] == ["cross_entropy", "transport"]


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, value) for option, choices in CHOICES.items() for value in choices]
    + [
        ("mm_detach_text", True), ("mm_normalise", False), ("learn_temperature", False),
        ("separate_temperatures", True), ("num_context", 0), ("num_context", 6),
        ("frozen_encoder", False), ("ot_normalise", False), ("ot_padding", True),
        ("mm_floor", 1e-4), ("mm_least_distance", 0.01),
    ],
)  # fmt: skip
def test_every_value_of_every_switch_has_finite_terms_and_gradients(batch, option, value):
    changes = {"copies": "rolled"} if value == "rolled_contexts" else {}
    objective = build(**{option: value}, **changes)
    values = objective(batch)
    objective.total(values).backward()
    assert all(v.isfinite() and v < 1e4 for v in values.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.parameters())
    assert batch.output.features.grad.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": -1.0}, "alpha: expected a number of at least 0"),
        ({"beta": -1.0}, "beta: expected a number of at least 0"),
        ({"epsilon": 0.0}, "epsilon: expected a number above 0"),
        ({"ot_gradient": "plan"}, "ot_gradient: expected one of cost, full, none"),
        ({"ot_points": "rolled_contexts"}, "needs several copies of the context"),
        ({"temperature_min": 0.0}, "temperature_min: expected a number above 0"),
        ({"temperature": 1e-3}, r"temperature: expected a number in \[0.01"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        replace(LicoOptions(), **changes)


def test_prompts_too_long_for_the_encoder_are_refused():
    with pytest.raises(InvalidInputError, match="lower num_context"):
        build(num_context=600)


def test_a_batch_of_one_is_refused_where_it_cannot_be_compared(recipe):
    with pytest.raises(InvalidInputError, match="set batch_size to 2 or more"):
        ARMS["lico"].options.check(replace(recipe, batch_size=1))
    ARMS["lico_ot"].options.check(replace(recipe, batch_size=1))


def test_features_that_are_not_finite_name_the_step(recipe):
    session = prepare(recipe, device="cpu")
    with torch.no_grad():
        next(session.classifier.features.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"step 1 of 6 .*lower the learning rate"):
        next(session.run_epoch())
