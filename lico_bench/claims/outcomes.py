"""Outcome of one tested comparison and its sentence, and whether its interval is narrow enough.

`judging` has the rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from lico_bench.claims.comparisons import Gain, base_name
from lico_bench.claims.records import Claim, ClaimVerdict, Evidence, Family, Outcome
from lico_bench.number_text import signed

LEVEL = 0.05


def outcome_of(claim: Claim, gain: Gain, p_corrected: float) -> Outcome:
    """Return the outcome of a tested comparison without regard to control arms.

    NaN compares False, which gives inconclusive.
    """
    effect = claim.smallest_effect
    if claim.direction == "not_worse":
        if gain.lower > -effect:
            return "loss_ruled_out"
        return "harm" if gain.upper < -effect else "inconclusive"
    if gain.p_equivalent < LEVEL:
        return "equivalent"
    if p_corrected < LEVEL:
        return "improvement" if gain.gain > 0 else "harm"
    return "gain_ruled_out" if gain.upper < effect else "inconclusive"


def judge(
    claim: Claim, gain: Gain, p_corrected: float, *, family: Family | None, unit: str,
    controls: Mapping[str, Gain | None],
) -> tuple[Outcome, str]:  # fmt: skip
    """Return the outcome of a tested comparison and the sentence that explains it.

    Args:
        p_corrected: p-value or q-value of the gain within its family.
        unit: unit of the metric.
        controls: the gain over each control arm; None for an arm that was not run.
    """
    outcome = outcome_of(claim, gain, p_corrected)
    reason = _reason(claim, outcome, gain, p_corrected, family, unit)
    if outcome != "improvement":
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


def too_few(claim: Claim, num_seeds: int) -> str:
    """Return `2 trainings per arm, the claim asks for 3`."""
    seeds = "one training" if num_seeds == 1 else f"{num_seeds} trainings"
    return f"{seeds} per arm, the claim asks for {claim.min_seeds}"


def _reason(
    claim: Claim, outcome: Outcome, gain: Gain, p_corrected: float, family: Family | None, unit: str
) -> str:
    above = f" above that of {claim.control_map}" if claim.control_map else ""
    message = f"gain over {claim.reference_arm}{above} {gain_text(gain, unit)}"
    is_share = unit.startswith("share")
    effect = f"{100 * claim.smallest_effect:g} points" if is_share else f"{claim.smallest_effect:g}"
    if claim.direction == "not_worse":
        return {
            "loss_ruled_out": f"{message}: a loss of {effect} is ruled out",
            "harm": f"{message}: a loss of more than {effect} is sure",
        }.get(outcome, f"{message}: a loss of {effect} is neither ruled out nor sure")
    if outcome == "equivalent":
        return f"{message}: surely smaller than {effect}, the smallest effect of interest"
    if outcome == "gain_ruled_out":
        return f"{message}: a gain of {effect} is ruled out"
    if math.isnan(p_corrected):
        return message
    corrected = {"exploratory": f"q = {p_corrected:.3f}"}.get(
        family or "", f"{p_text(p_corrected)} after Holm's correction"
    )
    return f"{message}, {corrected}"


def _objection(claim: Claim, name: str, gain: Gain, unit: str) -> str:
    """Return why a control arm weakens a gain, or ""."""
    if gain.num_seeds < claim.min_seeds:
        return f"control {name} has fewer trainings than {claim.min_seeds}"
    if gain.p_value < LEVEL and gain.gain > 0:
        return ""
    excess = f"{gain_text(gain, unit)}, {p_text(gain.p_value)}"
    return f"control {name} does as well: {claim.arm} is not clearly above it ({excess})"


def wide_intervals(verdicts: Iterable[ClaimVerdict]) -> list[str]:
    """Return a sentence per primary interval whose half-width is not below the smallest effect.

    Primary are the comparisons of `Evidence.family`; in a run of stand-ins alone, those of the
    claims' primary methods.
    """
    sentences = []
    for verdict in verdicts:
        claim = verdict.claim
        real = [item for item in verdict.evidence if item.source != "standin"]
        primary = [item for item in real if item.family == "primary"]
        if not real:
            primary = [item for item in verdict.evidence if _is_primary(item, verdict)]
        for item in primary:
            if item.low is None or item.high is None:
                continue
            width = (item.high - item.low) / 2
            if width >= claim.smallest_effect:
                sentences.append(
                    f"{claim.title} on {item.dataset} is known to ±{width:.3g}, its smallest "
                    f"effect is {claim.smallest_effect:g}"
                )
    return sentences


def _is_primary(item: Evidence, verdict: ClaimVerdict) -> bool:
    return not item.method or base_name(item.method) == verdict.claim.methods[0]
