"""The outcome of one paired difference and the sentence that explains it.

With the gain g (larger is better), the smallest effect of interest d, and all tests at 5 %:

    better       equivalent     |g| < d is significant (two one-sided tests), for either sign of g
                 supported      g > 0, and its p-value is below 0.05 after Holm's correction
                 contradicted   g < 0, and its p-value is below 0.05 after Holm's correction
    not_worse    supported      g > -d is significant (one-sided)
                 contradicted   g < -d is significant (one-sided)

and inconclusive otherwise. A significant gain that is smaller than d is equivalent. Holm's
correction covers all differences on real data that test claims of a gain. The one-sided bounds of
not_worse are not corrected: the claim is supported only if every comparison supports it, so its
error rate does not exceed that of a single bound (Berger, Technometrics 1982).

A supported claim must also beat its controls, each with a p-value below 0.05: an arm without the
claimed component, and the gain of a map that ignores the model. These tests are not corrected
either, because all controls must be beaten. With fewer trainings than the claim requires, the
outcome is inconclusive.

Source: Schuirmann, J. Pharmacokinetics and Biopharmaceutics 1987 (two one-sided tests); Holm,
Scandinavian Journal of Statistics 1979; Piaggio et al., JAMA 2012 (non-inferiority).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from lico_bench.claims.comparisons import Gain
from lico_bench.claims.records import Claim, Outcome
from lico_bench.number_text import signed

LEVEL = 0.05
STANDIN = "drawn scenes in place of the data set: no test of the claim"


def outcome_of(claim: Claim, gain: Gain, p_holm: float) -> Outcome:
    """Return the outcome without regard to controls and number of trainings.

    NaN compares False, which gives inconclusive.
    """
    effect = claim.smallest_effect
    if claim.direction == "not_worse":
        if gain.lower > -effect or gain.p_equivalent < LEVEL:
            return "supported"
        return "contradicted" if gain.upper < -effect else "inconclusive"
    if gain.p_equivalent < LEVEL:
        return "equivalent"
    if not p_holm < LEVEL:
        return "inconclusive"
    return "supported" if gain.gain > 0 else "contradicted"


def judge(
    claim: Claim, gain: Gain, p_holm: float, *, unit: str, controls: Mapping[str, Gain | None]
) -> tuple[Outcome, str]:
    """Return the outcome of one comparison on real data and the sentence that explains it.

    Args:
        p_holm: p-value of the gain after Holm's correction; NaN if it was not tested.
        unit: unit of the metric.
        controls: by name, the gain over a control arm, or the gain minus that of a control
            method; None for a control that was not run.
    """
    outcome = outcome_of(claim, gain, p_holm)
    reason = _reason(claim, outcome, gain, p_holm, unit)
    if math.isnan(gain.low):
        return "inconclusive", gain.note or "there is no interval"
    if gain.num_seeds < claim.min_seeds:
        seeds = "one training" if gain.num_seeds == 1 else f"{gain.num_seeds} trainings"
        return "inconclusive", f"{seeds} per arm, the claim asks for {claim.min_seeds}; {reason}"
    if outcome != "supported":
        return outcome, reason
    for name, control in controls.items():
        objection = "" if control is None else _objection(claim, name, control, unit)
        if objection:
            return "inconclusive", f"{reason}, but {objection}"
    missing = [name for name, control in controls.items() if control is None]
    if missing:
        reason += f"; no control was run for it ({', '.join(missing)})"
    return outcome, reason


def gain_text(gain: Gain, unit: str) -> str:
    """Return `+0.0123 [+0.0050, +0.0196] probability`; shares are in percentage points."""
    is_share = unit.startswith("share")
    scale, digits, name = (100, 2, "percentage points") if is_share else (1, 4, unit)
    middle, low, high = (signed(scale * n, digits) for n in (gain.gain, gain.low, gain.high))
    return f"{middle} [{low}, {high}] {name}"


def p_text(p_value: float) -> str:
    """Return the p-value with three digits, or `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _reason(claim: Claim, outcome: Outcome, gain: Gain, p_holm: float, unit: str) -> str:
    message = f"gain over {claim.reference_arm} {gain_text(gain, unit)}"
    is_share = unit.startswith("share")
    effect = f"{100 * claim.smallest_effect:g} points" if is_share else f"{claim.smallest_effect:g}"
    corrected = "" if math.isnan(p_holm) else f", {p_text(p_holm)} after Holm's correction"
    if claim.direction == "not_worse":
        return {
            "supported": f"{message}: a loss of {effect} is ruled out",
            "contradicted": f"{message}: a loss of more than {effect} is sure",
        }.get(outcome, f"{message}: a loss of {effect} is neither ruled out nor sure")
    if outcome == "equivalent":
        return f"{message}: surely smaller than {effect}, the smallest effect of interest"
    return f"{message}{corrected}"


def _objection(claim: Claim, name: str, gain: Gain, unit: str) -> str:
    """Return why a control weakens a gain, or ""."""
    if gain.num_seeds < claim.min_seeds:
        return f"control {name} has fewer trainings than {claim.min_seeds}"
    if gain.p_value < LEVEL and gain.gain > 0:
        return ""
    excess = f"{gain_text(gain, unit)}, {p_text(gain.p_value)}"
    if name in claim.control_arms:
        return f"control {name} does as well: {claim.arm} is not clearly above it ({excess})"
    return f"the control map {name} gains as much: what is left above its gain is {excess}"
