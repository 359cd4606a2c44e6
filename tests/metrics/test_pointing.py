"""The pointing game: hits, ties, tolerances, and the metrics with their protocols."""

from __future__ import annotations

import pytest
import torch
from localised_case import localised

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, pointing_game, resolve_metric


def one_hot_map(y: int, x: int, size: int = 9) -> torch.Tensor:
    maps = torch.zeros(1, size, size)
    maps[0, y, x] = 1
    return maps


def region_at(y: int, x: int, size: int = 9) -> torch.Tensor:
    regions = torch.zeros(1, size, size, dtype=torch.bool)
    regions[0, y, x] = True
    return regions


def test_one_hot_map_hits_when_peak_is_inside_region():
    assert pointing_game(one_hot_map(2, 5), region_at(2, 5), tolerance_px=0).tolist() == [1]


def test_rows_and_columns_are_not_swapped():
    assert pointing_game(one_hot_map(2, 5), region_at(5, 2), tolerance_px=1).tolist() == [0]


@pytest.mark.parametrize(
    ("distance", "tolerance_px", "hit"), [(2, 2.0, 0), (2, 2.01, 1), (3, 2.9, 0), (3, 3.5, 1)]
)
def test_a_peak_strictly_nearer_than_the_tolerance_hits(distance, tolerance_px, hit):
    result = pointing_game(one_hot_map(1, 1), region_at(1, 1 + distance), tolerance_px=tolerance_px)
    assert result.tolist() == [hit]


def test_distance_is_euclidean():
    maps, regions = one_hot_map(0, 0), region_at(3, 4)
    assert pointing_game(maps, regions, tolerance_px=5.0).tolist() == [0]
    assert pointing_game(maps, regions, tolerance_px=5.1).tolist() == [1]


def test_flat_maps_and_shared_peaks_miss():
    everywhere = torch.ones(1, 9, 9, dtype=torch.bool)
    shared = one_hot_map(1, 1) + one_hot_map(5, 5)
    for maps in (torch.zeros(1, 9, 9), torch.ones(1, 9, 9), shared):
        assert pointing_game(maps, everywhere, tolerance_px=3).tolist() == [0]


def test_an_empty_region_is_skipped():
    result = pointing_game(
        one_hot_map(1, 1), torch.zeros(1, 9, 9, dtype=torch.bool), tolerance_px=3
    )
    assert result.isnan().all()


def test_a_loop_over_pixels_agrees():
    rng = torch.Generator().manual_seed(0)
    maps = torch.rand(50, 7, 6, generator=rng)
    regions = torch.rand(50, 7, 6, generator=rng) > 0.9
    fast = pointing_game(maps, regions, tolerance_px=1.5)
    for i in range(50):
        py, px = divmod(int(maps[i].argmax()), 6)
        near = [(y - py) ** 2 + (x - px) ** 2 < 1.5**2 for y, x in regions[i].nonzero().tolist()]
        if near:
            assert fast[i] == any(near)
        else:
            assert fast[i].isnan()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInputError, match="same shape"):
        pointing_game(one_hot_map(1, 1), region_at(1, 1)[:, :4], tolerance_px=1)
    with pytest.raises(InvalidInputError, match="tolerance_px"):
        pointing_game(one_hot_map(1, 1), region_at(1, 1), tolerance_px=-1)


def peak_and_object(size: int, distance: int) -> tuple[torch.Tensor, torch.Tensor]:
    maps, regions = torch.zeros(1, size, size), torch.zeros(1, size, size, dtype=torch.bool)
    maps[0, 2, 3] = 1
    regions[0, 2, 3 + distance] = True
    return maps, regions


@pytest.mark.parametrize(
    ("size", "distance", "relative", "absolute"),
    [(224, 14, 1, 1), (224, 15, 0, 0), (32, 2, 1, 1), (32, 3, 0, 1), (448, 20, 1, 0)],
)
def test_the_relative_tolerance_scales_and_the_absolute_one_does_not(
    size: int, distance: int, relative: int, absolute: int
):
    inputs = localised(*peak_and_object(size, distance))
    assert METRICS["pointing_game"].compute(inputs).tolist() == [relative]
    assert METRICS["pointing_game_15px"].compute(inputs).tolist() == [absolute]


def test_a_flat_map_misses_and_an_empty_region_is_skipped():
    regions = torch.ones(2, 9, 9, dtype=torch.bool)
    regions[1] = False
    for name in ("pointing_game", "pointing_game_15px"):
        found = METRICS[name].compute(localised(torch.ones(2, 9, 9), regions))
        assert found[0] == 0
        assert found[1].isnan()


def test_the_tolerance_is_a_rule():
    inputs = localised(*peak_and_object(32, 4))
    metric = resolve_metric("pointing_game_15px(tolerance_px=4)")
    assert metric.compute(inputs).tolist() == [0]
    assert metric.spec.protocol != resolve_metric("pointing_game_15px").spec.protocol


def test_maps_without_regions_are_refused():
    with pytest.raises(InvalidInputError, match="no regions"):
        METRICS["pointing_game"].compute(localised(torch.ones(1, 9, 9), None))
