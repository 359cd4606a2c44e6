"""Mass on the object and on several objects: hand-made maps, properties, missing ground truth."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, MetricInputs
from tests.metrics.localised_case import localised

ATOL_FP32 = 1e-6
NAMES = ("energy_pointing_game", "sch", "energy_lift", "soft_iou", "area_prior")
ATOL_EPSILON = 1e-4  # the published 1e-6 per object, seen through a logarithm
BOTH = ("mosu_area_salience", "mosu_salience_area")


def score(name: str, maps: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    return METRICS[name].compute(localised(maps, regions))


def random_case(seed: int, *, signed: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    maps = torch.rand(6, 7, 5, generator=rng) - (0.3 if signed else 0)
    regions = torch.rand(6, 7, 5, generator=rng) > 0.7
    regions[:, 0, 0] = True
    return maps, regions


def by_loop(salience: torch.Tensor, region: torch.Tensor) -> dict[str, float]:
    inside = total = plain_inside = plain_total = area = union = 0.0
    peak = max(float(salience.max()), 0.0)
    for value, is_object in zip(
        salience.flatten().tolist(), region.flatten().tolist(), strict=True
    ):
        positive = max(value, 0.0)
        total, plain_total, area = total + positive, plain_total + value, area + is_object
        inside += positive * is_object
        plain_inside += value * is_object
        soft = positive / peak
        union += soft + is_object - soft * is_object
    area /= region.numel()
    return {
        "energy_pointing_game": inside / total,
        "sch": min(max(plain_inside / plain_total, 0.0), 1.0),
        "energy_lift": inside / total / area,
        "soft_iou": inside / peak / union,
        "area_prior": area,
    }


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_loop_over_pixels_agrees(name: str, signed: bool):
    maps, regions = random_case(0, signed=signed)
    expected = torch.tensor([by_loop(m, r)[name] for m, r in zip(maps, regions, strict=True)])
    assert torch.allclose(score(name, maps, regions), expected, atol=10 * ATOL_FP32)


def test_the_object_itself_is_the_best_map_and_its_complement_the_worst():
    _, regions = random_case(1)
    perfect = {name: score(name, regions.float(), regions) for name in NAMES}
    prior = perfect["area_prior"]
    for name in ("energy_pointing_game", "sch", "soft_iou"):
        assert torch.allclose(perfect[name], torch.ones(6))
        assert (score(name, 1 - regions.float(), regions) == 0).all()
    assert torch.allclose(perfect["energy_lift"], 1 / prior)


@pytest.mark.parametrize("level", [1.0, 0.0, 1e-38])
def test_a_flat_map_scores_the_area_prior(level: float):
    _, regions = random_case(2)
    flat = torch.full((6, 7, 5), level)
    prior = score("area_prior", flat, regions)
    assert torch.allclose(score("energy_pointing_game", flat, regions), prior)
    assert torch.allclose(score("sch", flat, regions), prior)
    assert torch.allclose(score("energy_lift", flat, regions), torch.ones(6))
    # Nothing overlaps with nothing; a constant map is the whole image.
    expected = prior if level else torch.zeros(6)
    assert torch.allclose(score("soft_iou", flat, regions), expected)


def test_a_map_without_positive_values_is_flat_to_the_rectified_scores():
    maps, regions = random_case(3)
    prior = score("area_prior", maps, regions)
    assert torch.allclose(score("energy_pointing_game", -maps, regions), prior)
    assert torch.allclose(score("sch", -maps, regions), prior)
    assert (score("soft_iou", -maps, regions) == 0).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-20, 1e-3, 7.0, 1e20]),
    name=st.sampled_from(NAMES),
    signed=st.booleans(),
)
def test_scale_does_not_matter_and_rows_follow_the_batch(seed, scale, name, signed):
    maps, regions = random_case(seed, signed=signed)
    before = score(name, maps, regions)
    spec = METRICS[name].spec
    assert (before >= spec.bounds[0]).all()
    assert spec.bounds[1] is None or (before <= spec.bounds[1]).all()
    # Signed sums may nearly cancel: the ratio of two such is less exact.
    atol = 1e-3 if signed and name == "sch" else 10 * ATOL_FP32
    assert torch.allclose(score(name, maps * scale, regions), before, atol=atol)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(score(name, maps[order], regions[order]), before[order], atol=ATOL_FP32)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_region_is_skipped_and_no_regions_are_refused(name: str):
    maps, regions = random_case(4)
    regions[2] = False
    found = score(name, maps, regions)
    assert [math.isnan(v) for v in found.tolist()] == [i == 2 for i in range(6)]
    with pytest.raises(InvalidInputError, match="no regions"):
        METRICS[name].compute(localised(maps, None))


def test_sch_is_the_energy_of_maps_without_negative_values():
    maps, regions = random_case(5)
    energy, sch = (score(name, maps, regions) for name in ("energy_pointing_game", "sch"))
    assert torch.allclose(energy, sch, atol=ATOL_FP32)
    signed, _ = random_case(5, signed=True)
    energy, sch = (score(name, signed, regions) for name in ("energy_pointing_game", "sch"))
    assert not torch.allclose(energy, sch, atol=1e-2)


def scene(seed: int, *, num_images: int = 4) -> MetricInputs:
    """Images with two to four objects that may overlap."""
    rng = torch.Generator().manual_seed(seed)
    instances = []
    for _ in range(num_images):
        count = int(torch.randint(2, 5, (1,), generator=rng))
        objects = torch.rand(count, 9, 8, generator=rng) > 0.7
        objects[:, 0, 0] = True
        instances.append(objects)
    maps = torch.rand(num_images, 9, 8, generator=rng)
    return localised(maps, None, instances=instances)


def test_both_directions_equal_scipys_entropy():
    inputs = scene(0)
    area_first, salience_first = (METRICS[name].compute(inputs) for name in BOTH)
    for i, (salience, objects) in enumerate(zip(inputs.maps, inputs.instances, strict=True)):
        shares = [float(salience[o].sum() / salience.sum()) + 1e-6 for o in objects]
        areas = [float(o.sum()) for o in objects]
        assert float(area_first[i]) == pytest.approx(entropy(areas, shares), abs=ATOL_EPSILON)
        assert float(salience_first[i]) == pytest.approx(entropy(shares, areas), abs=ATOL_EPSILON)
    assert not torch.allclose(area_first, salience_first)


def two_objects(salience: tuple[float, float]) -> MetricInputs:
    objects = torch.zeros(2, 4, 8, dtype=torch.bool)
    objects[0, :, :2], objects[1, :, 2:] = True, True  # areas one to three
    maps = (objects.float() * torch.tensor(salience)[:, None, None]).sum(0)
    return localised(maps[None], None, instances=[objects])


def test_closed_forms():
    for name in BOTH:
        assert METRICS[name].compute(two_objects((1, 1))).tolist() == pytest.approx([0], abs=1e-6)
    # All salience on the small object: s = (1, 0), a = (1/4, 3/4).
    one_sided = two_objects((1, 0))
    found = float(METRICS["mosu_salience_area"].compute(one_sided))
    assert found == pytest.approx(math.log(4), abs=ATOL_EPSILON)
    expected = 0.25 * math.log(0.25) + 0.75 * math.log(0.75 / 1e-6)
    found = float(METRICS["mosu_area_salience"].compute(one_sided))
    assert found == pytest.approx(expected, abs=ATOL_EPSILON)


def test_a_map_without_mass_on_an_object_scores_like_the_worst_map_with_mass_on_one():
    for name in BOTH:
        metric = METRICS[name]
        worst = max(float(metric.compute(two_objects(one))) for one in ((1, 0), (0, 1)))
        for nothing in ((0, 0), (-1, -2)):
            assert float(metric.compute(two_objects(nothing))) == worst
        outside = two_objects((0, 0))
        outside.maps[0, 0, 0] = 1
        outside.instances[0][0, 0, 0] = False  # the mass lies on the background
        one_sided = replace(outside, maps=outside.instances[0][:1].float())
        assert float(metric.compute(outside)) >= float(metric.compute(one_sided))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_map_is_worse_than_a_map_of_zeros(seed: int):
    inputs = scene(seed)
    empty = replace(inputs, maps=torch.zeros_like(inputs.maps))
    for name in BOTH:
        assert (METRICS[name].compute(inputs) <= METRICS[name].compute(empty)).all()


def test_fewer_than_two_objects_are_skipped():
    inputs = scene(1)
    instances = [
        inputs.instances[0], inputs.instances[1][:1], inputs.instances[2][:0],
        torch.stack([inputs.instances[3][0], torch.zeros(9, 8, dtype=torch.bool)]),
    ]  # fmt: skip
    inputs = replace(inputs, instances=instances)
    for name in BOTH:
        found = METRICS[name].compute(inputs)
        assert found.isnan().tolist() == [False, True, True, True]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-20, 0.1, 1e20]))
def test_it_is_not_negative_and_scale_and_batch_do_not_matter(seed: int, scale: float):
    inputs = scene(seed)
    scaled = localised(inputs.maps * scale, None, instances=inputs.instances)
    turned = localised(inputs.maps.flip(0), None, instances=inputs.instances[::-1])
    for name in BOTH:
        found = METRICS[name].compute(inputs)
        assert (found >= 0).all()
        assert torch.allclose(METRICS[name].compute(scaled), found, atol=1e-5)
        assert torch.equal(METRICS[name].compute(turned), found.flip(0))


def test_unknown_objects_are_refused():
    with pytest.raises(InvalidInputError, match="expected a mask for each object"):
        METRICS["mosu_area_salience"].compute(localised(torch.ones(1, 4, 4), None))
