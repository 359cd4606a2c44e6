"""Peaks and first pixels on the object against enumeration, loops and Quantus."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, PROTOCOLS, MetricInputs, pointing_game, resolve_metric
from lico_bench.metrics.value_ranks import is_flat, rank_accuracy, top_k
from tests.metrics.explained_case import NUM_IMAGES, colour_images, in_batches, inputs_of
from tests.metrics.localised_case import localised

ATOL_FP32 = 1e-6  # quotients of whole numbers


def of_maps(maps: torch.Tensor, regions: torch.Tensor) -> MetricInputs:
    images = torch.zeros(len(maps), 3, *maps.shape[1:])
    targets = torch.zeros(len(maps), dtype=torch.int64)
    return MetricInputs(lambda x: x, images, targets, maps, regions, PROTOCOLS["lico_bench_1"])


def tie_free_maps() -> torch.Tensor:
    return torch.rand(NUM_IMAGES, 16, 16, generator=torch.Generator().manual_seed(0))


def test_ties_count_in_the_mean_over_their_orders():
    values = [3.0, 1.0, 1.0, 1.0, 0.0, 2.0]
    region = [True, True, False, True, False, False]
    hits = []
    for order in permutations(range(6)):
        first = sorted(order, key=lambda pixel: -values[pixel])[:3]
        hits.append(np.mean([region[pixel] for pixel in first]))
    found = rank_accuracy(
        of_maps(torch.tensor([values]).view(1, 2, 3), torch.tensor([region]).view(1, 2, 3))
    )
    assert float(found) == pytest.approx(np.mean(hits), abs=ATOL_FP32)


def test_without_ties_quantus_says_the_same():
    import quantus

    maps, (images, labels, regions) = tie_free_maps(), colour_images(NUM_IMAGES)
    options = {"abs": False, "normalise": False, "disable_warnings": True}
    call = {
        "model": None, "x_batch": images.numpy(), "y_batch": labels.numpy(),
        "a_batch": maps[:, None].numpy(), "s_batch": regions[:, None].numpy(),
    }  # fmt: skip
    theirs = quantus.RelevanceRankAccuracy(**options)(**call)
    np.testing.assert_allclose(rank_accuracy(inputs_of(maps=maps)), theirs, atol=ATOL_FP32)
    theirs = quantus.TopKIntersection(k=26, **options)(**call)
    ours = top_k(inputs_of(maps=maps), top_share=26 / 256)
    np.testing.assert_allclose(ours, theirs, atol=ATOL_FP32)


def test_a_flat_map_scores_the_area_share_and_the_region_itself_is_perfect():
    _, _, regions = colour_images(NUM_IMAGES)
    share = torch.full((NUM_IMAGES,), 25 / 256)
    for compute in (rank_accuracy, top_k):
        for flat in (torch.zeros(NUM_IMAGES, 16, 16), torch.full((NUM_IMAGES, 16, 16), -2.0)):
            assert torch.allclose(compute(inputs_of(maps=flat)), share, atol=ATOL_FP32)
        assert (compute(inputs_of(maps=regions.float())) == 1).all()
        assert (compute(inputs_of(maps=-regions.float())) == 0).all()


def test_an_empty_region_is_skipped_and_no_regions_are_refused():
    maps, regions = torch.rand(2, 4, 4), torch.zeros(2, 4, 4, dtype=torch.bool)
    regions[1, 0, 0] = True
    for compute in (rank_accuracy, top_k):
        assert compute(of_maps(maps, regions)).isnan().tolist() == [True, False]
        with pytest.raises(InvalidInputError, match="has no regions"):
            compute(of_maps(maps, None))
    with pytest.raises(InvalidInputError, match="top_share"):
        top_k(of_maps(maps, regions), top_share=0)


@pytest.mark.parametrize("size", [1, 3])
def test_scores_do_not_depend_on_the_batch(size: int):
    for compute in (rank_accuracy, top_k):
        assert torch.equal(in_batches(compute, size), in_batches(compute, NUM_IMAGES))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_scores_keep_their_value_under_a_rising_rescale(seed: int):
    rng = torch.Generator().manual_seed(seed)
    maps = (torch.rand(2, 8, 8, generator=rng) * 10).round()  # with ties
    regions = torch.rand(2, 8, 8, generator=rng) > 0.7
    for compute in (rank_accuracy, top_k):
        assert torch.equal(compute(of_maps(maps, regions)), compute(of_maps(maps**3 - 7, regions)))


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


def test_flat_maps_miss_and_so_do_shared_peaks_by_the_strict_rule():
    everywhere = torch.ones(1, 9, 9, dtype=torch.bool)
    shared = one_hot_map(1, 1) + one_hot_map(5, 5)
    for flat in (torch.zeros(1, 9, 9), torch.ones(1, 9, 9)):
        for ties in ("expected", "strict"):
            assert pointing_game(flat, everywhere, tolerance_px=3, ties=ties).tolist() == [0]
    assert pointing_game(shared, everywhere, tolerance_px=3, ties="strict").tolist() == [0]
    assert pointing_game(shared, everywhere, tolerance_px=3).tolist() == [1]


def test_a_shared_peak_counts_by_the_share_of_its_pixels_that_hit():
    shared = one_hot_map(1, 1) + one_hot_map(5, 5) + one_hot_map(8, 0) + one_hot_map(2, 2)
    assert pointing_game(shared, region_at(1, 2), tolerance_px=0).tolist() == [0]
    assert pointing_game(shared, region_at(1, 2), tolerance_px=1.1).tolist() == [0.5]
    assert pointing_game(shared, region_at(5, 5), tolerance_px=1.1).tolist() == [0.25]


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000), cells=st.integers(2, 8), times=st.integers(2, 7),
    mode=st.sampled_from(["nearest", "bilinear"]),
)  # fmt: skip
def test_with_the_whole_image_as_the_object_every_map_that_is_not_flat_hits(
    seed: int, cells: int, times: int, mode: str
):
    maps = enlarged(levels(seed, cells), times, mode)
    hits = pointing_game(maps, torch.ones_like(maps, dtype=torch.bool), tolerance_px=1.5)
    assert hits.tolist() == [0.0 if flat else 1.0 for flat in is_flat(maps).tolist()]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), down=st.integers(0, 7), along=st.integers(0, 7))
def test_an_expected_score_moves_with_image_and_region(seed: int, down: int, along: int):
    maps = levels(seed, 8)
    regions = torch.rand(maps.shape, generator=torch.Generator().manual_seed(seed)) > 0.8

    def scores(change) -> list[torch.Tensor]:
        inputs = of_maps(change(maps), change(regions))
        expected = pointing_game(inputs.maps, inputs.known_regions, tolerance_px=1)
        return [expected, rank_accuracy(inputs), top_k(inputs, top_share=0.1)]

    moves = (
        lambda x: x.flip(2), lambda x: x.flip(1), lambda x: x.mT,
        lambda x: x.roll((down, along), (1, 2)),
    )  # fmt: skip
    for move in moves:
        for before, after in zip(scores(lambda x: x), scores(move), strict=True):
            assert torch.equal(before.nan_to_num(-1), after.nan_to_num(-1))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), cells=st.integers(2, 8), times=st.integers(2, 7))
def test_enlargement_leaves_the_score_of_a_region_made_of_cells(seed: int, cells: int, times: int):
    rng = torch.Generator().manual_seed(seed)
    chosen = torch.rand(3, cells, cells, generator=rng) > 0.6
    regions = enlarged(chosen.float(), times, "nearest").bool()

    def score(maps: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        return pointing_game(maps, regions, tolerance_px=0).nan_to_num(-1)

    tied = levels(seed, cells)
    repeated = enlarged(tied, times, "nearest")
    assert torch.allclose(score(repeated, regions), score(tied, chosen))
    before, after = (rank_accuracy(of_maps(*x)) for x in ((tied, chosen), (repeated, regions)))
    assert torch.allclose(before, after, equal_nan=True)
    # Bilinear enlargement by an even factor has no pixel at the centre of a cell, which lowers an
    # inner peak and not one at the border. It keeps a peak that stands out in its cell.
    peaked = torch.rand(3, cells, cells, generator=rng)
    peaked += 4 * (peaked == peaked.amax((1, 2), keepdim=True))
    assert torch.equal(score(enlarged(peaked, times, "bilinear"), regions), score(peaked, chosen))


def levels(seed: int, size: int) -> torch.Tensor:
    """Maps (3, size, size) with three values, so that peaks are shared, flat ones among them."""
    return torch.randint(3, (3, size, size), generator=torch.Generator().manual_seed(seed)).float()


def enlarged(maps: torch.Tensor, times: int, mode: str) -> torch.Tensor:
    return F.interpolate(maps[None], scale_factor=float(times), mode=mode)[0]


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


def test_the_rule_for_ties_has_an_id_of_its_own():
    shared = localised(one_hot_map(1, 1) + one_hot_map(5, 5), region_at(5, 5))
    for name in ("pointing_game", "pointing_game_15px(tolerance_px=1)"):
        expected = resolve_metric(name)
        strict = resolve_metric(f"{name.rstrip(')')}{',' if '(' in name else '('}ties=strict)")
        assert (expected.compute(shared).item(), strict.compute(shared).item()) == (0.5, 0)
        assert "ties=strict" in strict.spec.name
        assert strict.spec.protocol != expected.spec.protocol
    # Rows of earlier versions were made by the strict rule under this id.
    assert expected.version == 2
    ids = {resolve_metric(n).spec.protocol for n in ("pointing_game", "pointing_game(ties=strict)")}
    assert "pointing_game_1@37d9bb9c" not in ids
    with pytest.raises(InvalidInputError, match="ties: expected one of"):
        pointing_game(shared.maps, shared.known_regions, tolerance_px=1, ties="first")


def test_the_tolerance_is_a_rule():
    inputs = localised(*peak_and_object(32, 4))
    metric = resolve_metric("pointing_game_15px(tolerance_px=4)")
    assert metric.compute(inputs).tolist() == [0]
    assert metric.spec.protocol != resolve_metric("pointing_game_15px").spec.protocol


def test_maps_without_regions_are_refused():
    with pytest.raises(InvalidInputError, match="no regions"):
        METRICS["pointing_game"].compute(localised(torch.ones(1, 9, 9), None))
