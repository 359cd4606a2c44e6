"""Outcome rules, one test per rule."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lico_bench.claims.comparisons import Gain
from lico_bench.claims.outcomes import gain_text, judge, outcome_of
from tests.claims.claimed_rows import MAPS, MODEL

GAIN = Gain(0.03, 0.02, 0.04, 0.001, 0.9, 100, 5, "rules@1", "", lower=0.021, upper=0.039)
CONTROLLED = replace(MAPS, control_arms=("shuffled",), control_methods=("noise",))


def judged(claim, found, p_holm=0.01, controls=None):
    return judge(claim, found, p_holm, unit="probability", controls=controls or {})


@pytest.mark.parametrize(
    ("p_holm", "p_equivalent", "gain", "outcome"),
    [
        (0.049, 0.9, 0.03, "supported"),
        (0.05, 0.9, 0.03, "inconclusive"),
        (0.049, 0.9, -0.03, "contradicted"),
        (0.001, 0.049, 0.005, "equivalent"),  # significant, but too small to matter
        (0.9, 0.05, 0.001, "inconclusive"),
        (math.nan, math.nan, 0.03, "inconclusive"),
    ],
)
def test_a_claimed_gain_needs_a_corrected_p_value_and_a_size(p_holm, p_equivalent, gain, outcome):
    found = replace(GAIN, gain=gain, p_equivalent=p_equivalent)
    assert outcome_of(MAPS, found, p_holm) == outcome


@pytest.mark.parametrize(
    ("lower", "upper", "p_equivalent", "outcome"),
    [
        (-0.019, 0.5, 0.9, "supported"),
        (-0.021, 0.5, 0.9, "inconclusive"),
        (-0.021, 0.01, 0.04, "supported"),  # equivalent counts as not worse
        (-0.5, -0.019, 0.9, "inconclusive"),
        (-0.5, -0.021, 0.9, "contradicted"),
        (math.nan, math.nan, math.nan, "inconclusive"),
    ],
)
def test_not_worse_is_decided_by_the_one_sided_bounds(lower, upper, p_equivalent, outcome):
    found = replace(GAIN, lower=lower, upper=upper, p_equivalent=p_equivalent)
    assert outcome_of(MODEL, found, math.nan) == outcome


def test_a_supported_gain_tells_its_numbers():
    outcome, message = judged(MAPS, GAIN)
    assert outcome == "supported"
    assert message == (
        "gain over baseline +0.0300 [+0.0200, +0.0400] probability, p = 0.010 after Holm's "
        "correction"
    )


@pytest.mark.parametrize(
    ("name", "control", "outcome", "message"),
    [
        ("shuffled", replace(GAIN, p_value=0.04), "supported", "Holm"),
        ("shuffled", replace(GAIN, p_value=0.06), "inconclusive", "shuffled does as well"),
        ("shuffled", replace(GAIN, gain=-0.03), "inconclusive", "shuffled does as well"),
        ("noise", replace(GAIN, p_value=0.06), "inconclusive", "noise gains as much"),
        ("noise", replace(GAIN, num_seeds=2), "inconclusive", "fewer trainings than 3"),
        ("noise", replace(GAIN, p_value=math.nan), "inconclusive", "noise gains as much"),
        ("noise", None, "supported", "no control was run for it (noise)"),
    ],
)
def test_each_control_must_be_beaten_clearly(name, control, outcome, message):
    controls = {"shuffled": GAIN, "noise": GAIN} | {name: control}
    found = judged(CONTROLLED, GAIN, controls=controls)
    assert found[0] == outcome
    assert message in found[1]


def test_shares_are_shown_in_percentage_points_and_a_rounded_zero_has_no_sign():
    found = replace(GAIN, gain=0.0123, low=-0.00001, high=0.03)
    assert gain_text(found, "share of hits") == "+1.23 [0.00, +3.00] percentage points"
    assert gain_text(found, "probability") == "+0.0123 [0.0000, +0.0300] probability"
    assert gain_text(replace(found, low=-0.02), "nats") == "+0.0123 [−0.0200, +0.0300] nats"
