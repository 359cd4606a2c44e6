"""From a paired difference to an outcome, in words.

With the gain g turned so that larger is better, the smallest effect of interest d, and all tests
at 5 %:

    better       equivalent     |g| < d is sure (two one-sided tests), whatever the sign of g
                 supported      g > 0, and its p-value is below 0.05 after Holm's correction
                 contradicted   g < 0, and likewise
    not_worse    supported      g > -d is sure (one-sided)
                 contradicted   g < -d is sure (one-sided)

and inconclusive otherwise. A difference that is sure and too small to matter is equivalent. Holm's
correction is over all real differences that claims of a gain put to the test. The one-sided bounds
of not_worse take none: the claim stands only if every comparison supports it, and such a verdict is
wrong no more often than the bound of a single one (Berger, Technometrics 1982).

What is supported must also beat its controls, each with a p-value below 0.05: an arm that lacks
what the claim is about, and the gain of a map that knows nothing of the model. These need no
correction either, since all of them must be beaten. Fewer trainings than the claim asks for decide
nothing, in either direction.

Source: Schuirmann, J. Pharmacokinetics and Biopharmaceutics 1987 (two one-sided tests); Holm,
Scandinavian Journal of Statistics 1979; Piaggio et al., JAMA 2012 (non-inferiority).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from lico_bench.claims.comparisons import Gain
from lico_bench.claims.records import Claim, Outcome

LEVEL = 0.05
STANDIN = "drawn scenes in place of the data set: no test of the claim"


def outcome_of(claim: Claim, found: Gain, p_holm: float) -> Outcome:
    """What the numbers alone say; comparisons with NaN are False and leave it inconclusive."""
    effect = claim.smallest_effect
    if claim.direction == "not_worse":
        if found.lower > -effect or found.p_equivalent < LEVEL:
            return "supported"
        return "contradicted" if found.upper < -effect else "inconclusive"
    if found.p_equivalent < LEVEL:
        return "equivalent"
    if not p_holm < LEVEL:
        return "inconclusive"
    return "supported" if found.gain > 0 else "contradicted"


def judge(
    claim: Claim, found: Gain, p_holm: float, *, unit: str, controls: Mapping[str, Gain | None]
) -> tuple[Outcome, str]:
    """The outcome of one comparison on real data and the sentence that says why.

    Args:
        p_holm: p-value of the gain after correction; NaN where there is none.
        unit: of the metric.
        controls: by name, what the claim's arm gains over a control arm, or what is left of its
            gain above that of a control method; None where it was not run.
    """
    outcome = outcome_of(claim, found, p_holm)
    message = _reason(claim, outcome, found, p_holm, unit)
    if math.isnan(found.low):
        return "inconclusive", found.note or "there is no interval"
    if found.num_seeds < claim.min_seeds:
        seeds = "one training" if found.num_seeds == 1 else f"{found.num_seeds} trainings"
        return "inconclusive", f"{seeds} per arm, the claim asks for {claim.min_seeds}; {message}"
    if outcome != "supported":
        return outcome, message
    for name, gain in controls.items():
        objection = "" if gain is None else _objection(claim, name, gain, unit)
        if objection:
            return "inconclusive", f"{message}, but {objection}"
    missing = [name for name, gain in controls.items() if gain is None]
    if missing:
        message += f"; no control was run for it ({', '.join(missing)})"
    return outcome, message


def gain_text(found: Gain, unit: str) -> str:
    """`+0.0123 [+0.0050, +0.0196] probability`; shares in percentage points."""
    is_share = unit.startswith("share")
    scale, digits, name = (100, 2, "percentage points") if is_share else (1, 4, unit)
    # Adding 0 takes the sign off a rounded zero.
    rounded = [round(scale * n, digits) + 0.0 for n in (found.gain, found.low, found.high)]
    gain, low, high = (f"{n:+.{digits}f}" if n else f"{n:.{digits}f}" for n in rounded)
    return f"{gain} [{low}, {high}] {name}".replace("-", "−")


def p_text(p_value: float) -> str:
    """`p < 0.001`, else with three digits."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _reason(claim: Claim, outcome: Outcome, found: Gain, p_holm: float, unit: str) -> str:
    gain = f"gain over {claim.reference_arm} {gain_text(found, unit)}"
    is_share = unit.startswith("share")
    effect = f"{100 * claim.smallest_effect:g} points" if is_share else f"{claim.smallest_effect:g}"
    corrected = "" if math.isnan(p_holm) else f", {p_text(p_holm)} after Holm's correction"
    if claim.direction == "not_worse":
        return {
            "supported": f"{gain}: a loss of {effect} is ruled out",
            "contradicted": f"{gain}: a loss of more than {effect} is sure",
        }.get(outcome, f"{gain}: a loss of {effect} is neither ruled out nor sure")
    if outcome == "equivalent":
        return f"{gain}: surely smaller than {effect}, the smallest effect of interest"
    return f"{gain}{corrected}"


def _objection(claim: Claim, name: str, gain: Gain, unit: str) -> str:
    """What a control says against a gain, or nothing."""
    if gain.num_seeds < claim.min_seeds:
        return f"control {name} has fewer trainings than {claim.min_seeds}"
    if gain.p_value < LEVEL and gain.gain > 0:
        return ""
    left = f"{gain_text(gain, unit)}, {p_text(gain.p_value)}"
    if name in claim.control_arms:
        return f"control {name} does as well: {claim.arm} is not clearly above it ({left})"
    return f"the control map {name} gains as much: what is left above its gain is {left}"
