"""Families of the comparisons of claims, and the outcome of each."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from lico_bench.claims import judge_claims
from lico_bench.claims.comparisons import Gain
from lico_bench.claims.outcomes import gain_text, judge, outcome_of, p_text
from tests.claims.claimed_rows import (
    MAPS,
    MODEL,
    RESAMPLES,
    SURE,
    both,
    manifest_of,
    verdict_on,
    with_accuracy,
)
from tests.manifests import manifest_from


def test_four_data_sets_are_pooled():
    gains = (0.01, 0.02, 0.03, 0.04)
    frames = [both(gain, dataset=f"set{n}", draw=n) for n, gain in enumerate(gains)]
    verdict = verdict_on(MAPS, *frames)
    assert verdict.pooled.num_datasets == 4
    assert verdict.pooled.mean == pytest.approx(0.025, abs=0.005)
    assert "mean over 4 data sets +0.02" in verdict.sentence
    assert verdict_on(MAPS, *frames[:3]).pooled is None


def test_each_family_is_corrected_by_itself():
    frames = [
        both(0.006, noise=0.03),
        both(0.012, dataset="svhn", noise=0.05, draw=1),
        both(0.012, dataset="cars", noise=0.05, draw=2),
        both(SURE, dataset="drawn", source="standin", draw=3),
        both(0.006, method="rise(num_masks=9)", noise=0.05, draw=4),
    ]
    rows = with_accuracy(pd.concat(frames, ignore_index=True))
    elsewhere = replace(MAPS, id="elsewhere", datasets=("svhn",))
    found = judge_claims(
        rows, manifest_from(manifest_of(rows)), [MAPS, elsewhere], resamples=RESAMPLES
    )
    one, other = ({e.dataset: e for e in v.evidence if e.method == "grad_cam"} for v in found)
    assert one["drawn"].family is None
    # Holm by hand over two: the smaller doubled, the larger at least as large.
    for pair in ((one["cifar10"], other["svhn"]), (one["svhn"], one["cars"])):
        low, high = sorted(pair, key=lambda item: item.p_value)
        assert low.p_corrected == pytest.approx(min(1, 2 * low.p_value))
        assert high.p_corrected == pytest.approx(max(high.p_value, low.p_corrected))
    rise = [e for v in found for e in v.evidence if e.method.startswith("rise") and e.p_value]
    assert [item.family for item in rise] == ["exploratory"]
    assert rise[0].p_corrected == rise[0].p_value


GAIN = Gain(
    gain=0.03, low=0.02, high=0.04, lower=0.021, upper=0.039, reference=0.4, error=0.005,
    p_value=0.001, p_harm=1.0, p_equivalent=0.9, num_images=100, num_seeds=5,
    protocol="rules@1", note="",
)  # fmt: skip
SHUFFLED = replace(MAPS, control_arms=("shuffled",))


def judged(claim, found, p_corrected=0.01, controls=None):
    return judge(
        claim, found, p_corrected, family="primary", unit="probability", controls=controls or {}
    )


@pytest.mark.parametrize(
    ("p_corrected", "p_equivalent", "gain", "upper", "outcome"),
    [
        (0.049, 0.9, 0.03, 0.039, "improvement"),
        (0.05, 0.9, 0.03, 0.039, "inconclusive"),
        (0.049, 0.9, -0.03, -0.02, "harm"),
        (0.05, 0.9, -0.03, -0.02, "gain_ruled_out"),
        (0.05, 0.9, -0.03, 0.01, "inconclusive"),
        (0.001, 0.049, 0.005, 0.009, "equivalent"),  # significant, but too small to matter
        (0.9, 0.05, 0.001, 0.02, "inconclusive"),
        (math.nan, math.nan, 0.03, math.nan, "inconclusive"),
    ],
)
def test_each_word_has_its_rule(p_corrected, p_equivalent, gain, upper, outcome):
    found = replace(GAIN, gain=gain, p_equivalent=p_equivalent, upper=upper)
    assert outcome_of(MAPS, found, p_corrected) == outcome


@pytest.mark.parametrize(
    ("lower", "p_corrected", "outcome"),
    [
        (-0.019, 0.9, "loss_ruled_out"),
        (-0.021, 0.06, "inconclusive"),
        (-0.5, 0.04, "harm"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_not_worse_is_decided_by_its_bound_and_by_the_test_for_harm(lower, p_corrected, outcome):
    assert outcome_of(MODEL, replace(GAIN, lower=lower), p_corrected) == outcome


def test_an_improvement_tells_its_numbers():
    outcome, message = judged(MAPS, GAIN)
    assert outcome == "improvement"
    assert message == (
        "gain over baseline +0.0300 [+0.0200, +0.0400] probability, p = 0.010 after Holm's "
        "correction"
    )


@pytest.mark.parametrize(
    ("control", "outcome", "message"),
    [
        (replace(GAIN, p_value=0.04), "improvement", "Holm"),
        (replace(GAIN, p_value=0.06), "inconclusive", "shuffled does as well"),
        (replace(GAIN, gain=-0.03), "inconclusive", "shuffled does as well"),
        (replace(GAIN, num_seeds=2), "inconclusive", "fewer trainings than 3"),
        (replace(GAIN, p_value=math.nan), "inconclusive", "shuffled does as well"),
        (None, "inconclusive", "control shuffled was not run"),
    ],
)
def test_a_control_arm_must_be_beaten_clearly(control, outcome, message):
    found = judged(SHUFFLED, GAIN, controls={"shuffled": control})
    assert found[0] == outcome
    assert message in found[1]


def test_shares_are_shown_in_percentage_points_and_a_rounded_zero_has_no_sign():
    found = replace(GAIN, gain=0.0123, low=-0.00001, high=0.03)
    assert gain_text(found, "share of hits") == "+1.23 [0.00, +3.00] percentage points"
    assert gain_text(found, "probability") == "+0.0123 [0.0000, +0.0300] probability"
    assert gain_text(replace(found, low=-0.02), "nats") == "+0.0123 [−0.0200, +0.0300] nats"


def test_a_p_value_below_the_level_is_not_rounded_up_to_it():
    assert p_text(0.04996) == "p = 0.04996"
    assert (p_text(0.0494), p_text(0.05), p_text(0.0004, "q")) == (
        "p = 0.049", "p = 0.050", "q < 0.001",
    )  # fmt: skip
