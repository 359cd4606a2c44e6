"""The two tolerances of the pointing game."""

from __future__ import annotations

import pytest
import torch
from localised_case import localised

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, resolve_metric


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
