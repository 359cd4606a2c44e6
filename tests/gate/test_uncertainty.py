"""Errors of a loss, and by simulation how often the gate is wrong."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest
from gated_rows import judgement
from scipy.special import stdtrit
from scipy.stats import ttest_ind

from lico_bench.gate.judgement import Loss, decide
from lico_bench.gate.uncertainty import MeanFacts, default_margin, loss_error

RTOL_ROOT = 2e-5  # of the root finder, which works on the logarithm of a p-value


def facts_of_values(values):
    """What `stats` would tell of (S, I) values."""
    means = values.mean(1)
    common = (values - means[:, None]).mean(0) / values.shape[1]
    images = values.shape[1]
    return float(means.mean()), MeanFacts(
        image_error=float(np.sqrt((common**2).sum() * images / (images - 1))),
        seed_spread=float(means.std(ddof=1)) if len(values) > 1 else math.nan,
        num_images=images,
        num_seeds=len(values),
    )


def test_trainings_alone_are_the_two_sample_t_test():
    means = np.array([0.1, 0.3, 0.2, 0.5]), np.array([0.4, 0.6, 0.3])
    sides = [MeanFacts(0.0, one.std(ddof=1), 10, len(one)) for one in means]
    loss = means[1].mean() - means[0].mean()
    expected = ttest_ind(means[1], means[0], alternative="greater").pvalue
    assert loss_error(*sides).p_no_loss(loss) == pytest.approx(expected, rel=RTOL_ROOT)


def test_p_value_and_bound_tell_the_same():
    error = loss_error(MeanFacts(0.02, 0.03, 50, 5), MeanFacts(0.03, math.nan, 50, 1))
    for p_value in (0.2, 0.05, 1e-3, 1e-6):
        loss = error.half_width(1 - p_value)
        assert error.p_no_loss(loss) == pytest.approx(p_value, rel=RTOL_ROOT)
        assert error.p_no_loss(-loss) == pytest.approx(1 - p_value, rel=RTOL_ROOT)


def test_no_spread_at_all_decides_without_doubt():
    error = loss_error(MeanFacts(0.0, 0.0, 50, 2), MeanFacts(0.0, math.nan, 50, 1))
    assert error.half_width(0.95) == 0
    assert error.p_no_loss(0.0) == 1
    assert error.p_no_loss(0.1) < 1e-9


def test_where_neither_side_has_two_trainings_seeds_are_not_covered():
    one, two = MeanFacts(0.02, math.nan, 50, 1), MeanFacts(0.02, 0.01, 50, 2)
    pairs = ((one, one), (one, two), (two, one))
    assert [len(loss_error(*pair).parts) for pair in pairs] == [2, 3, 3]


def test_default_margin_is_twice_the_reach_rounded_up():
    facts = MeanFacts(0.02, 0.03, 101, 5)
    images = stdtrit(100, 0.95) * 0.02
    seeds = stdtrit(4, 0.95) * 0.03 * 1.2**0.5
    expected = 2 * math.sqrt(2 * images**2 + seeds**2)
    assert expected <= default_margin(facts) < expected + 0.01


@pytest.fixture(scope="module")
def checks():
    """Outcomes (C, K) of checks of one training against five, K scores each, by the true loss.

    The images are the same on both sides and the trainings differ more than images explain,
    where a run's own error knows least.
    """
    rng = np.random.default_rng(0)
    count, scores = 60, 20
    with pytest.MonkeyPatch.context() as patch:
        # As in conftest.py, whose fixture is one of each test.
        patch.setattr(gc, "collect", lambda *_: 0)
        return {
            loss: np.array([one_check(rng, scores, loss) for _ in range(count)])
            for loss in ("none", "margin", "twice")
        }


def one_check(rng, scores, loss):
    found = []
    for _ in range(scores):
        images = rng.normal(0, 0.1, 50)
        noise = [
            rng.normal(0, 0.08, (seeds, 1)) + images + rng.normal(0, 0.05, (seeds, 50))
            for seeds in (5, 1)
        ]
        (before, reference), (now, run) = (facts_of_values(values) for values in noise)
        margin = default_margin(reference)
        size = before - now + {"none": 0, "margin": margin, "twice": 2 * margin}[loss]
        error = loss_error(reference, run)
        half_width = error.half_width(0.95)
        loss_facts = Loss(size, size - half_width, size + half_width, error.p_no_loss(size))
        found.append((judgement(margin=margin), loss_facts))
    return [one.outcome for one in decide(found, other="the reference")]


def test_an_equal_model_of_another_seed_is_hardly_ever_called_a_regression(checks):
    is_regression = checks["none"] == "regression"
    assert is_regression.mean() < 0.005  # of single scores; at most 0.05 is promised
    # At most 0.05 of the tables is promised: 60 of them hold 8 with a chance below 0.01.
    assert is_regression.any(1).sum() < 8


def test_an_equal_model_passes_19_of_20_scores(checks):
    assert 0.92 < (checks["none"] == "pass").mean() <= 1


def test_a_loss_of_just_the_margin_is_called_a_regression_in_one_of_20(checks):
    assert (checks["margin"] == "regression").mean() < 0.07
    assert (checks["margin"] == "pass").mean() < 0.08


def test_a_loss_of_twice_the_margin_is_caught(checks):
    assert (checks["twice"] == "regression").mean() > 0.9
    assert (checks["twice"] == "pass").mean() < 0.01
