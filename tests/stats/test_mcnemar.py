from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from lico_bench.stats.mcnemar import are_hits, mcnemar_exact


def table(ours, theirs):
    return [[((ours == a) & (theirs == b)).sum() for b in (1, 0)] for a in (1, 0)]


def test_one_seed_agrees_with_statsmodels():
    generator = np.random.default_rng(0)
    ours = (generator.random((1, 60, 8)) < 0.6).astype(float)
    theirs = np.where(generator.random(ours.shape) < 0.4, 1.0, ours)
    found = mcnemar_exact(ours, theirs)
    for column in range(8):
        expected = mcnemar(table(ours[0, :, column], theirs[0, :, column]), exact=True).pvalue
        assert found[column] == pytest.approx(expected, rel=1e-9)


def test_several_seeds_give_the_smallest_times_their_number():
    ours = np.zeros((3, 10, 1))
    theirs = ours.copy()
    theirs[0, :8], theirs[1, :3] = 1, 1
    assert mcnemar_exact(ours, theirs)[0] == pytest.approx(3 * 2 / 2**8)
    missing = np.full((1, 10, 1), np.nan)
    more = [np.concatenate([values, missing]) for values in (ours, theirs)]
    assert mcnemar_exact(*more)[0] == pytest.approx(3 * 2 / 2**8)


def test_one_image_under_many_seeds_is_no_crowd():
    ours = np.zeros((20, 30, 1))
    theirs = ours.copy()
    theirs[:, 0] = 1
    assert mcnemar_exact(ours, theirs)[0] == 1


def test_no_disagreement_has_p_of_one():
    assert mcnemar_exact(np.ones((2, 5, 1)), np.ones((2, 5, 1)))[0] == 1


def test_only_columns_of_hits_are_tested():
    ours, theirs = np.zeros((2, 4, 5)), np.ones((2, 4, 5))
    theirs[0, 0, 1] = 0.5
    for values in (ours, theirs):
        values[..., 2] = np.nan
        values[:, 1:, 3] = np.nan
        values[:, 0, 4] = np.nan
    assert are_hits(ours, theirs).tolist() == [True, False, False, True, True]
    # Nothing to test in the third, one image in the fourth.
    assert np.isnan(mcnemar_exact(ours, theirs)).tolist() == [False, True, True, True, False]
