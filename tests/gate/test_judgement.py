from __future__ import annotations

import pytest
from gated_rows import judgement

from lico_bench.gate import Verdict
from lico_bench.gate.judgement import Loss, decide, worst


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
