from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.meta_analysis import combine_effects

from lico_bench.errors import InvalidInputError
from lico_bench.stats.pooling import pooled_difference


@pytest.mark.parametrize("tau", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("count", [4, 9])
def test_it_agrees_with_statsmodels(tau, count):
    generator = np.random.default_rng(count)
    errors = generator.uniform(0.01, 0.05, count)
    values = 0.03 + tau * generator.normal(size=count) + errors * generator.normal(size=count)
    found = pooled_difference(values, errors)
    expected = combine_effects(values, errors**2, method_re="iterated", use_t=True)
    assert found.mean == pytest.approx(expected.mean_effect_re, abs=1e-5)
    assert found.tau**2 == pytest.approx(max(0.0, expected.tau2), abs=1e-5)
    assert found.i_squared == pytest.approx(max(0.0, expected.i2), abs=1e-9)
    error = expected.sd_eff_w_re_hksj
    from_centre = (found.high - found.low) / 2
    assert from_centre == pytest.approx(error * {4: 3.182446, 9: 2.306004}[count], rel=1e-4)
    assert found.predicted_low < found.low < found.mean < found.high < found.predicted_high


def test_its_interval_covers_the_mean_of_datasets_that_differ():
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(1000):
        errors = generator.uniform(0.5, 1.5, 5)
        values = generator.normal(size=5) + errors * generator.normal(size=5)
        found = pooled_difference(values, errors)
        covered.append(found.low <= 0 <= found.high)
    assert 0.93 <= np.mean(covered) <= 0.975


@pytest.mark.parametrize(
    ("values", "errors"),
    [([0.1] * 3, [0.1] * 3), ([0.1] * 4, [0.1, 0.1, 0.1, 0.0]), ([0.1] * 4, [0.1] * 5)],
)
def test_what_cannot_be_pooled_is_refused(values, errors):
    with pytest.raises(InvalidInputError, match="at least 4 differences"):
        pooled_difference(values, errors)
