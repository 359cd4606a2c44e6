"""Verdicts on claims from the paired comparisons of a run.

The comparisons of the primary method on real data decide. The claim is supported or equivalent if
all of them are, contradicted if some are and none is supported, not tested if there are none, and
inconclusive otherwise. Further methods are reported too; if one of them contradicts the claim, a
supported verdict becomes inconclusive.

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
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pandas as pd

from lico_bench.claims.comparisons import (
    Comparisons,
    Gain,
    Setting,
    base_name,
    complete_pairs,
    cost_outcome,
)
from lico_bench.claims.missing_evidence import (
    Scope,
    missing_in_run,
    missing_in_setting,
    near_chance,
    scope_of,
)
from lico_bench.claims.records import INFERENCE_COST, Claim, ClaimVerdict, Evidence, Outcome
from lico_bench.errors import InvalidInputError
from lico_bench.number_text import signed
from lico_bench.stats import MODEL_SCORES, as_frame, holm
from lico_bench.stats.bootstrap import RESAMPLES
from lico_bench.store.run_records import Manifest

LEVEL = 0.05
STANDIN = "drawn scenes in place of the data set: no test of the claim"
ONLY_STANDINS = (
    "stand-ins only, which say nothing of the real data sets; "
    "name the folder with the real images with --data-root"
)


@dataclass
class _Comparison:
    """One comparison of a claim; its gain is None if the run lacks it."""

    claim: Claim
    setting: Setting
    method: str
    gain: Gain | None
    p_holm: float = math.nan


def judge_claims(
    rows: Any,
    manifest: Manifest,
    claims: Sequence[Claim],
    *,
    inference: pd.DataFrame | None = None,
    resamples: int = RESAMPLES,
) -> tuple[ClaimVerdict, ...]:
    """Return the verdict on each of `claims`, in the same order.

    Args:
        rows: rows of a run, `records.ROW_COLUMNS`, or an object with `to_frame()` or `rows()`.
        manifest: manifest of the run; `metrics` gives the direction of each metric.
        inference: `RunFolder.inference()`, for claims on the cost of a forward pass.
        resamples: draws per interval and p-value.

    Raises:
        InvalidInputError: for invalid rows, or a claim on a metric without a direction of merit.
        NotComparableError: for arms that were scored on different images or under different
            protocols.
    """
    frame = as_frame(rows)
    specs = {**MODEL_SCORES, **manifest.metrics}
    for claim in claims:
        if claim.metric in specs and specs[claim.metric].higher_is_better is None:
            raise InvalidInputError(
                f"claim '{claim.id}': expected a metric with a direction of merit, got "
                f"{claim.metric}, which is descriptive; choose another"
            )
    known = [claim for claim in claims if claim.metric in specs]
    is_better = {name: bool(spec.higher_is_better) for name, spec in specs.items()}
    comparisons = Comparisons(frame, known, is_better, resamples=resamples)
    scope = scope_of(frame, manifest)
    missing = [missing_in_run(claim, scope) for claim in claims]
    compared = [
        [] if reason else _compare(claim, scope, comparisons)
        for claim, reason in zip(claims, missing, strict=True)
    ]
    _correct([item for items in compared for item in items])
    verdicts = []
    for claim, reason, items in zip(claims, missing, compared, strict=True):
        if reason:
            verdicts.append(ClaimVerdict(claim, "not_tested", f"not tested: {reason}"))
            continue
        if claim.metric == INFERENCE_COST:
            evidence = _cost_evidence(claim, scope, frame, inference)
        else:
            unit = specs[claim.metric].unit
            evidence = tuple(_evidence(item, scope, comparisons, unit) for item in items)
        verdicts.append(_verdict(claim, scope, evidence))
    return tuple(verdicts)


def _compare(claim: Claim, scope: Scope, comparisons: Comparisons) -> list[_Comparison]:
    """Return the comparisons of a claim over methods and settings, the primary method first."""
    if claim.metric == INFERENCE_COST:
        return []
    methods = [m for name in claim.methods for m in scope.methods if base_name(m) == name]
    return [
        _Comparison(claim, setting, method, comparisons.find(claim, setting, method))
        for method in (methods if claim.methods else [""])
        for setting in scope.settings_of(claim)
    ]


def _correct(compared: Sequence[_Comparison]) -> None:
    """Set the p-values after Holm's correction over all tests of a gain on real data."""
    tested = [
        (item, item.gain.p_value)
        for item in compared
        if item.gain is not None
        and item.setting.source != "standin"
        and item.claim.direction == "better"
    ]
    adjusted = holm([p_value for _, p_value in tested])
    for (item, _), p_holm in zip(tested, adjusted, strict=True):
        item.p_holm = float(p_holm)


def _evidence(item: _Comparison, scope: Scope, comparisons: Comparisons, unit: str) -> Evidence:
    claim, setting, method, gain = item.claim, item.setting, item.method, item.gain
    where = {**setting._asdict(), "method": method}
    if gain is None:
        reason = missing_in_setting(claim, setting, method, scope)
        return Evidence(**where, outcome="not_tested", sentence=reason)
    outcome: Outcome = "not_tested"
    if setting.source == "standin":
        message = gain.note if math.isnan(gain.low) else f"gain {gain_text(gain, unit)}"
        sentence = f"{STANDIN} ({message})"
    elif reason := near_chance(claim, setting, scope):
        outcome, sentence = "inconclusive", reason
    else:
        controls = {
            arm: comparisons.find(claim, setting, method, other=arm) for arm in claim.control_arms
        } | {
            control: comparisons.find(claim, setting, method, control=control)
            for control in claim.control_methods
        }
        outcome, sentence = judge(claim, gain, item.p_holm, unit=unit, controls=controls)
    return Evidence(
        **where,
        outcome=outcome,
        sentence=sentence,
        gain=_finite(gain.gain),
        low=_finite(gain.low),
        high=_finite(gain.high),
        p_value=_finite(gain.p_value),
        p_holm=_finite(item.p_holm),
        p_equivalent=_finite(gain.p_equivalent),
        num_images=gain.num_images,
        num_seeds=gain.num_seeds,
        protocol=gain.protocol,
    )


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _cost_evidence(
    claim: Claim, scope: Scope, rows: pd.DataFrame, inference: pd.DataFrame | None
) -> tuple[Evidence, ...]:
    """Return the evidence on a claim about inference cost in each of its settings."""
    fields = list(Setting._fields)
    cells = rows.loc[~rows["cell"].duplicated(), [*fields, "pair", "arm", "cell"]]
    cells = cells[cells["arm"].isin([claim.arm, claim.reference_arm])]
    if inference is not None:
        cells = cells.merge(inference, on="cell", how="left")
    found = []
    for setting in scope.settings_of(claim):
        here = cells[(cells[fields] == list(setting)).all(axis=1)]
        pairs = complete_pairs(here, claim.arm, claim.reference_arm)
        outcome, sentence = cost_outcome(claim, here[here["pair"].isin(pairs)])
        if outcome != "not_tested" and setting.source == "standin":
            outcome, sentence = "not_tested", f"{STANDIN} ({sentence})"
        elif outcome != "not_tested" and len(pairs) < claim.min_seeds:
            outcome, sentence = "inconclusive", f"{_too_few(claim, len(pairs))}; {sentence}"
        where = {**setting._asdict(), "method": ""}
        found.append(Evidence(**where, outcome=outcome, sentence=sentence, num_seeds=len(pairs)))
    return tuple(found)


def _too_few(claim: Claim, num_seeds: int) -> str:
    seeds = "one training" if num_seeds == 1 else f"{num_seeds} trainings"
    return f"{seeds} per arm, the claim asks for {claim.min_seeds}"


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
        return "inconclusive", f"{_too_few(claim, gain.num_seeds)}; {reason}"
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


def _verdict(claim: Claim, scope: Scope, evidence: tuple[Evidence, ...]) -> ClaimVerdict:
    primary = claim.methods[0] if claim.methods else ""
    real = [item for item in evidence if item.source != "standin"]
    first = [item for item in real if base_name(item.method) == primary]
    outcomes = [item.outcome for item in first]
    further = [item.outcome for item in real if base_name(item.method) != primary]
    outcome = _combined([each for each in outcomes if each != "not_tested"])
    notes = []
    if further:
        notes.append(f"further methods: {_counts(further)}")
    if outcome == "supported" and "contradicted" in further:
        outcome = "inconclusive"
        notes.append("a further method contradicts it")
    if outcome == "supported" and scope.controls_not_run(claim):
        notes.append(f"no control was run ({', '.join(scope.controls_not_run(claim))})")
    if real and len(real) < len(evidence):
        notes.append("stand-ins left out")
    if scope.absent(claim):
        notes.append(f"not in this run: {', '.join(scope.absent(claim))}")
    if outcome == "not_tested":
        sentence = f"not tested: {first[0].sentence if first else ONLY_STANDINS}"
    else:
        sentence = first[0].sentence if len(first) == 1 else _counts(outcomes, first)
        if not sentence.startswith(_word(outcome)):
            sentence = f"{_word(outcome)}: {sentence}"
    return ClaimVerdict(claim, outcome, "; ".join([sentence, *notes]), evidence)


def _combined(outcomes: Sequence[Outcome]) -> Outcome:
    """Return one outcome for several comparisons."""
    distinct = set(outcomes)
    if not distinct:
        return "not_tested"
    if len(distinct) == 1:
        return outcomes[0]
    if "contradicted" in distinct and "supported" not in distinct:
        return "contradicted"
    return "inconclusive"


def _counts(outcomes: Sequence[Outcome], named: Sequence[Evidence] = ()) -> str:
    """Return text such as `supported on 2 of 5 comparisons (cifar10, svhn), inconclusive on 3`.

    Args:
        named: evidence whose datasets with a decisive outcome are listed.
    """
    counts, total = Counter(outcomes), len(outcomes)
    noun = "comparison" if total == 1 else "comparisons"
    if len(counts) == 1:
        every = {1: "the only", 2: "both"}.get(total, f"all {total}")
        return f"{_word(outcomes[0])} on {every} {noun}"
    parts: list[str] = []
    for name in filter(counts.get, get_args(Outcome)):
        of = "" if parts else f" of {total} {noun}"
        datasets = dict.fromkeys(item.dataset for item in named if item.outcome == name)
        is_decisive = datasets and name not in {"inconclusive", "not_tested"}
        names = f" ({', '.join(datasets)})" if is_decisive else ""
        parts.append(f"{_word(name)} on {counts[name]}{of}{names}")
    return ", ".join(parts)


def _word(outcome: Outcome) -> str:
    return outcome.replace("_", " ")
