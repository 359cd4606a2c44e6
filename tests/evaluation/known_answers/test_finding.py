"""Comparisons of scores and maps, and the declared margins and reasons."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.evaluation.known_answers.finding import (
    MARGINS,
    REASONS,
    correlation,
    difference,
    effect_size,
    energy_in_region,
    peaks_within,
    rank_of_region,
)
from lico_bench.evaluation.known_answers.method_checks import REFERENCE_MAPS
from lico_bench.metrics import METRICS
from lico_bench.saliency import SALIENCY


def test_declarations_name_what_is_registered():
    categories = {METRICS[name].spec.category for name in METRICS}
    for method, what in REASONS:
        assert method in SALIENCY
        assert what in METRICS or what in categories or " " in what  # the name of a check
    for margins in MARGINS.values():
        assert set(margins) <= {*METRICS, *categories}
    for names in REFERENCE_MAPS.values():
        assert all(SALIENCY[name].is_control for name in names)


def test_rank_of_a_region_is_the_share_of_pairs_in_order():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randint(5, (3, 4, 5), generator=rng).float()
    regions = torch.rand(3, 4, 5, generator=rng) < 0.4
    for map_, region, found in zip(maps, regions, rank_of_region(maps, regions), strict=True):
        pairs = [
            1.0 if a > b else 0.5 if a == b else 0.0
            for a in map_[region].tolist()
            for b in map_[~region].tolist()
        ]
        assert float(found) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@given(st.integers(0, 2**31), st.sampled_from([lambda m: 3 * m + 1, torch.exp, lambda m: m**3]))
@settings(max_examples=20, deadline=None)
def test_rank_of_a_region_keeps_its_value_under_a_rising_rescale(seed: int, rescale):
    rng = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 6, 6, generator=rng, dtype=torch.float64)
    regions = torch.zeros(2, 6, 6, dtype=torch.bool)
    regions[:, :2] = True
    assert rank_of_region(rescale(maps), regions).equal(rank_of_region(maps, regions))


def test_energy_of_a_flat_map_is_the_area_and_of_a_perfect_one_all():
    regions = torch.zeros(1, 4, 4, dtype=torch.bool)
    regions[0, :1] = True
    for flat in (torch.zeros(1, 4, 4), torch.full((1, 4, 4), 3.0)):
        assert float(energy_in_region(flat, regions, is_signed=False)) == 0.25
    assert float(energy_in_region(regions.float() + 5, regions, is_signed=False)) == 1
    signed = torch.where(regions, 1.0, -1.0)
    assert float(energy_in_region(signed, regions, is_signed=True)) == 1


def test_correlation_with_a_flat_map_is_zero():
    maps = torch.arange(16.0).view(1, 4, 4)
    assert float(correlation(maps, maps * 2 + 1)) == pytest.approx(1)
    assert float(correlation(maps, -maps)) == pytest.approx(-1)
    assert float(correlation(maps, torch.ones(1, 4, 4))) == 0


def test_a_peak_counts_with_all_its_equals():
    regions = torch.zeros(1, 8, 8, dtype=torch.bool)
    regions[0, 2:4, 2:4] = True
    maps = torch.zeros(1, 8, 8)
    assert not peaks_within(maps, regions, reach_px=1)
    maps[0, 4, 4] = 1
    assert peaks_within(maps, regions, reach_px=1)
    assert not peaks_within(maps, regions, reach_px=0)
    maps[0, 7, 7] = 1
    assert not peaks_within(maps, regions, reach_px=1)


def test_an_effect_is_the_mean_over_the_spread():
    assert effect_size(torch.tensor([1.0, 3.0, math.nan])) == 2
    assert effect_size(torch.tensor([2.0, 2.0])) == math.inf
    assert effect_size(torch.tensor([-2.0, -2.0])) == -math.inf
    assert effect_size(torch.zeros(3)) == 0
    assert math.isnan(effect_size(torch.tensor([math.nan])))


def test_a_nan_on_one_side_is_an_infinite_difference():
    assert difference(torch.tensor([math.nan, 1.0]), torch.tensor([math.nan, 1.5])) == 0.5
    assert difference(torch.tensor([math.nan]), torch.tensor([1.0])) == math.inf
