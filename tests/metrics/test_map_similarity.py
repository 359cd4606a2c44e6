"""Similarities of maps against SciPy and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from skimage.metrics import structural_similarity as library_ssim

from lico_bench.errors import InvalidInputError
from lico_bench.metrics.map_similarity import rank_correlation, similarity, structural_similarity

ATOL_FP32 = 1e-5  # sums of 500 products of ranks, and local variances by differences of means


def pairs(seed: int, *, count: int = 6, ties: bool = False):
    rng = torch.Generator().manual_seed(seed)
    first, noise = torch.randn(2, count, 20, 25, generator=rng)
    share = torch.linspace(0, 1, count)[:, None, None]
    second = share * first + (1 - share) * noise
    return ((first * 2).round(), second.relu()) if ties else (first, second)


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_equals_scipys(ties: bool):
    first, second = pairs(0, ties=ties)
    ours = rank_correlation(first, second)
    for row in range(len(first)):
        theirs = stats.spearmanr(first[row].flatten(), second[row].flatten()).statistic
        assert float(ours[row]) == pytest.approx(theirs, abs=ATOL_FP32)


def test_structural_similarity_equals_scikit_images():
    first, second = pairs(1)
    ours = structural_similarity(first, second)
    for row in range(len(first)):
        a, b = (
            ((m - m.min()) / (m.max() - m.min())).double().numpy()
            for m in (first[row], second[row])
        )
        theirs = library_ssim(a, b, win_size=7, data_range=1.0)
        assert float(ours[row]) == pytest.approx(theirs, abs=ATOL_FP32)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-6, 0.3, 40.0]))
def test_similarities_are_symmetric_and_forget_the_scale(seed: int, scale: float):
    first, second = pairs(seed, count=2)
    for kind in ("spearman", "ssim"):
        value = similarity(first, second, kind)
        assert torch.allclose(value, similarity(second, first, kind), atol=ATOL_FP32)
        assert torch.allclose(value, similarity(first * scale, second, kind), atol=ATOL_FP32)
        assert (value.abs() <= 1).all()


def test_a_map_equals_itself_and_opposes_its_negative():
    first, _ = pairs(2)
    for kind in ("spearman", "ssim"):
        assert torch.allclose(similarity(first, first, kind), torch.ones(6), atol=ATOL_FP32)
    assert torch.allclose(rank_correlation(first, -first), -torch.ones(6), atol=ATOL_FP32)


def test_two_flat_maps_are_alike_and_one_flat_map_is_like_nothing():
    flat, other = torch.full((1, 8, 8), 3.0), torch.rand(1, 8, 8)
    assert rank_correlation(flat, torch.zeros(1, 8, 8)).tolist() == [1]
    assert rank_correlation(flat, other).tolist() == [0]
    assert rank_correlation(other, flat).tolist() == [0]
    assert structural_similarity(flat, torch.zeros(1, 8, 8)).tolist() == [1]
    assert structural_similarity(flat, other).abs() < 0.1


def test_maps_smaller_than_the_window_are_compared():
    first, second = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(3))
    ours = structural_similarity(first, second)
    assert ours.shape == (3,)
    assert np.isfinite(ours.numpy()).all()


def test_an_unknown_similarity_is_refused():
    with pytest.raises(InvalidInputError, match="expected one of spearman, ssim"):
        similarity(torch.zeros(1, 8, 8), torch.zeros(1, 8, 8), "cosine")
