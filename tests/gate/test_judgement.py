"""Outcomes and errors of a loss, and by simulation how often the gate is wrong."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest
from gated_rows import judgement
from scipy.special import stdtrit
from scipy.stats import ttest_ind

from lico_bench.gate import Verdict
from lico_bench.gate.judgement import Loss, MeanFacts, decide, default_margin, loss_error, worst


def outcomes(*losses, margin=0.05, names_better=False):
    found = [(judgement(margin=margin), loss) for loss in losses]
    return decide(found, other="the reference", names_better=names_better)


@pytest.mark.parametrize(
    ("loss", "outcome", "words"),
    [
        (Loss(0.00, -0.02, 0.02, 0.5), "pass", "as good as the reference"),
        (Loss(-0.1, -0.12, -0.08, 1.0), "pass", "0.100 better than the reference"),
        (Loss(0.10, 0.08, 0.12, 1e-6), "regression", "above the margin of 0.050"),
        (Loss(0.05, 0.03, 0.07, 1e-3), "inconclusive", "which includes the margin of 0.050"),
    ],
)
def test_bounds_decide(loss, outcome, words):
    (one,) = outcomes(loss)
    assert one.outcome == outcome
    assert words in one.sentence
    assert (one.loss, one.loss_low, one.loss_high) == loss[:3]


def test_one_of_many_scores_must_be_surer_than_one_alone():
    beyond, well = Loss(0.1, 0.06, 0.14, 0.004), Loss(0.0, -0.01, 0.01, 0.5)
    assert outcomes(beyond)[0].outcome == "regression"
    first, *_ = outcomes(beyond, *[well] * 20)
    assert first.outcome == "inconclusive"
    assert "not significant among 21 scores" in first.sentence
    assert first.p_holm == pytest.approx(21 * 0.004)


def test_what_was_not_compared_is_no_part_of_the_family():
    (first, other) = decide(
        [
            (judgement(), Loss(0.1, 0.06, 0.14, 0.03)),
            (judgement(outcome="not_comparable", sentence="no such score"), None),
        ],
        other="the reference",
    )
    assert first.outcome == "regression"
    assert (other.outcome, other.sentence) == ("not_comparable", "no such score")


def test_better_is_said_only_where_it_is_asked_for_and_beyond_doubt():
    gain, chance = Loss(-0.1, -0.12, -0.08, 1 - 1e-6), Loss(-0.1, -0.2, 0.0, 0.95)
    assert outcomes(gain)[0].outcome == "pass"
    named = outcomes(gain, chance, names_better=True)
    assert [one.outcome for one in named] == ["better", "pass"]


def test_small_margins_get_more_digits():
    (one,) = outcomes(Loss(0.0012, 0.0001, 0.0023, 0.04), margin=0.005)
    assert "0.00120 worse" in one.sentence
    assert "the margin of 0.00500" in one.sentence


def test_gravest_speaks_for_all():
    ones = [judgement(outcome=name) for name in ("pass", "inconclusive", "better")]
    verdict = Verdict(worst(ones), tuple(ones), 0)
    assert (verdict.outcome, verdict.exit_code) == ("inconclusive", 3)
    assert verdict.sentence == "inconclusive: 1 inconclusive, 1 pass, 1 better of 3 scores"
    assert [one.outcome for one in verdict.with_outcome("pass", "inconclusive")] == [
        "inconclusive", "pass",
    ]  # fmt: skip


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
