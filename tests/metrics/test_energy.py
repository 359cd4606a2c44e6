"""Mass on the object against loops, closed forms and invariances."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from localised_case import localised

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS

ATOL_FP32 = 1e-6
NAMES = ("energy_pointing_game", "sch", "energy_lift", "soft_iou", "area_prior")


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
