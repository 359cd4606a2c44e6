"""Overlap of the first pixels with the object against enumeration and against Quantus."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from explained_case import NUM_IMAGES, colour_images, in_batches, inputs_of
from hypothesis import given, settings
from hypothesis import strategies as st

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import PROTOCOLS, MetricInputs
from lico_bench.metrics.value_ranks import rank_accuracy, top_k

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
