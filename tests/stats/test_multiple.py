from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from lico_bench.errors import InvalidInputError
from lico_bench.stats import holm


def slow_holm(p_values):
    """Step down: the smallest times N, the next times N - 1, never falling, never above 1."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for step, number in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[number]))
        adjusted[number] = largest
    return adjusted


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_it_agrees_with_the_definition(p_values):
    np.testing.assert_allclose(holm(p_values), slow_holm(p_values), rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_it_agrees_with_statsmodels_to_the_bit(count):
    p_values = np.random.default_rng(count).random(count) ** 3
    p_values[: count // 2] = np.round(p_values[: count // 2], 1)  # ties
    expected = multipletests(p_values, method="holm")[1]
    np.testing.assert_array_equal(holm(p_values), expected)


def test_what_was_not_tested_stays_nan_and_does_not_count():
    found = holm([np.nan, 0.01, np.nan, 0.04])
    assert np.isnan(found).tolist() == [True, False, True, False]
    np.testing.assert_allclose(found[[1, 3]], holm([0.01, 0.04]))
    assert np.isnan(holm([np.nan])).all()
    assert len(holm([])) == 0


@pytest.mark.parametrize("p_values", [[0.1, 1.2], [-0.1], [np.inf], [[0.1]]])
def test_what_is_no_p_value_is_refused(p_values):
    with pytest.raises(InvalidInputError, match=r"1-D array in \[0, 1\]"):
        holm(p_values)
