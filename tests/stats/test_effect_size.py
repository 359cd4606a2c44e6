from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lico_bench.stats.effect_size import standardised_effect


def test_one_seed_is_the_paired_t_statistic_over_the_root_of_the_images():
    values = np.random.default_rng(0).normal(0.3, 1, (1, 50, 1))
    expected = stats.ttest_1samp(values[0, :, 0], 0).statistic / np.sqrt(50)
    assert standardised_effect(values)[0] == pytest.approx(expected)


def test_seeds_are_averaged_before_the_spread_is_taken():
    values = np.random.default_rng(1).normal(0.3, 1, (4, 50, 1))
    values[2, :10] = np.nan
    by_image = np.nanmean(values[..., 0], 0)
    assert standardised_effect(values)[0] == pytest.approx(by_image.mean() / by_image.std(ddof=1))


@given(st.floats(0.01, 100), st.integers(0, 100))
def test_unit_does_not_matter_and_sign_carries_over(scale, draw):
    values = np.random.default_rng(draw).normal(size=(2, 12, 1))
    assert standardised_effect(-scale * values) == pytest.approx(-standardised_effect(values))


def test_no_spread_is_zero_without_a_difference_and_nothing_with_one():
    rounding = np.float32(0.1) + np.arange(20) * 1e-9
    values = np.stack([np.zeros(20), np.full(20, 0.1), rounding], axis=1)[None]
    assert standardised_effect(values)[0] == 0
    assert np.isnan(standardised_effect(values)[1:]).all()


def test_one_image_or_none_has_no_effect_size():
    values = np.full((2, 5, 2), np.nan)
    values[:, 0, 0] = 0.0
    assert np.isnan(standardised_effect(values)).all()
