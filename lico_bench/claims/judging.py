"""Verdicts on claims from the paired comparisons of a run.

The comparisons of the primary method on real data decide. The claim is supported or equivalent if
all of them are, contradicted if some are and none is supported, not tested if there are none, and
inconclusive otherwise. Further methods are reported too; if one of them contradicts the claim, a
supported verdict becomes inconclusive.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.claims.comparisons import Comparisons, Gain, Setting, base_name
from lico_bench.claims.missing_evidence import (
    Scope,
    missing_in_run,
    missing_in_setting,
    near_chance,
    scope_of,
)
from lico_bench.claims.outcomes import STANDIN, gain_text, judge
from lico_bench.claims.overhead import overhead_evidence
from lico_bench.claims.records import INFERENCE_COST, Claim, ClaimVerdict, Evidence, Outcome
from lico_bench.errors import InvalidInputError
from lico_bench.stats import MODEL_SCORES, as_frame, holm
from lico_bench.stats.bootstrap import RESAMPLES
from lico_bench.store.run_records import Manifest

ORDER: tuple[Outcome, ...] = (
    "supported", "contradicted", "equivalent", "inconclusive", "not_tested",
)  # fmt: skip

ONLY_STANDINS = (
    "stand-ins only, which say nothing of the real data sets; "
    "name the folder with the real images with --data-root"
)


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
    units = {name: spec.unit for name, spec in MODEL_SCORES.items()}
    units |= {name: spec.unit for name, spec in manifest.metrics.items()}
    directions = _directions(manifest, claims)
    known = [claim for claim in claims if claim.metric in directions]
    comparisons = Comparisons(frame, known, directions, resamples=resamples)
    scope = scope_of(frame, manifest)
    by_claim = [_compare(claim, scope, comparisons) for claim in claims]
    corrected = _corrected([item for compared in by_claim for item in compared])
    verdicts = []
    for claim, compared in zip(claims, by_claim, strict=True):
        missing = missing_in_run(claim, scope)
        if missing:
            verdicts.append(ClaimVerdict(claim, "not_tested", f"not tested: {missing}"))
            continue
        evidence = (
            overhead_evidence(claim, frame, scope, inference)
            if claim.metric == INFERENCE_COST
            else tuple(
                _evidence(item, scope, corrected, comparisons, units[claim.metric])
                for item in compared
            )
        )
        verdicts.append(_verdict(claim, scope, evidence))
    return tuple(verdicts)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """One comparison of a claim: its gain, or the reason why there is none."""

    claim: Claim
    setting: Setting
    method: str
    gain: Gain | None
    missing: str = ""

    @property
    def is_test_of_gain(self) -> bool:
        """Whether its p-value belongs to the family of Holm's correction."""
        is_real = self.setting.source != "standin"
        return self.gain is not None and is_real and self.claim.direction == "better"


def _directions(manifest: Manifest, claims: Sequence[Claim]) -> dict[str, bool]:
    """Return whether higher is better, by metric; raise for a claim on an undirected metric."""
    specs = {**MODEL_SCORES, **manifest.metrics}
    directions = {name: spec.higher_is_better for name, spec in specs.items()}
    for claim in claims:
        if claim.metric in directions and directions[claim.metric] is None:
            raise InvalidInputError(
                f"claim '{claim.id}': expected a metric with a direction of merit, got "
                f"{claim.metric}, which is descriptive; choose another"
            )
    return {name: is_better for name, is_better in directions.items() if is_better is not None}


def _compare(claim: Claim, scope: Scope, comparisons: Comparisons) -> list[_Comparison]:
    """Return the comparisons of a claim over methods and settings, the primary method first."""
    if claim.metric == INFERENCE_COST or missing_in_run(claim, scope):
        return []
    compared = []
    for name in claim.methods or ("",):
        methods = [m for m in scope.methods if base_name(m) == name] if name else [""]
        for method in methods:
            for setting in scope.settings_of(claim):
                gain = comparisons.find(claim, setting, method)
                missing = missing_in_setting(claim, setting, method, scope) if gain is None else ""
                compared.append(_Comparison(claim, setting, method, gain, missing))
    return compared


def _corrected(compared: Sequence[_Comparison]) -> dict[_Comparison, float]:
    """Return p-values after Holm's correction over all tests of a gain on real data."""
    tested = [item for item in compared if item.is_test_of_gain]
    p_values = [math.nan if item.gain is None else item.gain.p_value for item in tested]
    adjusted = holm(np.array(p_values)) if tested else ()
    return {item: float(p) for item, p in zip(tested, adjusted, strict=True)}


def _evidence(
    compared: _Comparison,
    scope: Scope,
    corrected: Mapping[_Comparison, float],
    comparisons: Comparisons,
    unit: str,
) -> Evidence:
    claim, setting, gain = compared.claim, compared.setting, compared.gain
    where = {**setting._asdict(), "method": compared.method}
    if gain is None:
        return Evidence(**where, outcome="not_tested", sentence=compared.missing)
    p_holm = corrected.get(compared, math.nan)
    outcome: Outcome = "not_tested"
    if setting.source == "standin":
        message = gain.note if math.isnan(gain.low) else f"gain {gain_text(gain, unit)}"
        sentence = f"{STANDIN} ({message})"
    elif reason := near_chance(claim, setting, scope):
        outcome, sentence = "inconclusive", reason
    else:
        controls = _controls(compared, comparisons)
        outcome, sentence = judge(claim, gain, p_holm, unit=unit, controls=controls)
    return Evidence(
        **where,
        outcome=outcome,
        sentence=sentence,
        gain=_finite(gain.gain),
        low=_finite(gain.low),
        high=_finite(gain.high),
        p_value=_finite(gain.p_value),
        p_holm=_finite(p_holm),
        p_equivalent=_finite(gain.p_equivalent),
        num_images=gain.num_images,
        num_seeds=gain.num_seeds,
        protocol=gain.protocol,
    )


def _controls(compared: _Comparison, comparisons: Comparisons) -> dict[str, Gain | None]:
    """Return the gain over each control arm and above each control method, None if not run."""
    claim, setting, method = compared.claim, compared.setting, compared.method
    arms = {arm: comparisons.find(claim, setting, method, other=arm) for arm in claim.control_arms}
    return arms | {
        control: comparisons.find(claim, setting, method, control=control)
        for control in claim.control_methods
    }


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
        named: evidence whose datasets are listed.
    """
    counts, total = Counter(outcomes), len(outcomes)
    noun = "comparison" if total == 1 else "comparisons"
    if len(counts) == 1:
        every = {1: "the only", 2: "both"}.get(total, f"all {total}")
        return f"{_word(outcomes[0])} on {every} {noun}"
    parts: list[str] = []
    for name in (name for name in ORDER if counts[name]):
        of = "" if parts else f" of {total} {noun}"
        parts.append(f"{_word(name)} on {counts[name]}{of}{_datasets(name, named)}")
    return ", ".join(parts)


def _datasets(outcome: Outcome, evidence: Sequence[Evidence]) -> str:
    """Return the datasets with a decisive outcome, in brackets."""
    if outcome in {"inconclusive", "not_tested"}:
        return ""
    names = dict.fromkeys(item.dataset for item in evidence if item.outcome == outcome)
    return f" ({', '.join(names)})" if names else ""


def _word(outcome: Outcome) -> str:
    return outcome.replace("_", " ")


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
