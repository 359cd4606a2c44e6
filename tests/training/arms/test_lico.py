"""The LICO arms: each differs from the paper's as its source says."""

from __future__ import annotations

import pytest
import torch

from lico_bench.losses import affinity, transport_loss
from lico_bench.training import ARMS
from lico_bench.training.arms.lico import names_for_prompts
from lico_bench.training.distributed import SINGLE_PROCESS
from tests.training.lico_case import (
    LABELS,
    build,
    encoder,
    without_draws,
)

CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


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


def test_fletchers_text_points_are_the_prompts_of_the_batch(batch):
    objective = without_draws("lico_fletcher")
    points, _ = objective._encode_prompts(LABELS, SINGLE_PROCESS).batch_prompts()
    assert points.shape == (6, 6, 16)
    assert torch.equal(points[0], points[5])
    assert torch.equal(points[0, 1], points[0, 5])  # two samples of one class
    assert not torch.equal(points[0, 0], points[0, 1])


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
