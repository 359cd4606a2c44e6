"""A verdict for each claim: its comparisons found in the rows, judged, and put into one word.

The primary method of a claim decides: supported if all its comparisons on real data are, equivalent
if all are, contradicted if some are and none is supported, not tested if there is none, and
inconclusive otherwise. Further methods stand beside it; one of them that contradicts the claim
takes a `supported` away.
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
    hardly_learned,
    missing_here,
    missing_in_run,
    scope_of,
)
from lico_bench.claims.outcomes import STANDIN, gain_text, judge
from lico_bench.claims.overhead import overhead_evidence
from lico_bench.claims.records import INFERENCE_COST, Claim, ClaimVerdict, Evidence, Outcome
from lico_bench.errors import InvalidInputError
from lico_bench.stats import MODEL_SCORES, as_frame, holm
from lico_bench.stats.bootstrap import RESAMPLES

ORDER: tuple[Outcome, ...] = (
    "supported", "contradicted", "equivalent", "inconclusive", "not_tested",
)  # fmt: skip

ONLY_STANDINS = (
    "stand-ins only, which say nothing of the real data sets; "
    "name the folder with the real images with --data-root"
)


def judge_claims(
    rows: Any,
    manifest: Mapping[str, Any],
    claims: Sequence[Claim],
    *,
    inference: pd.DataFrame | None = None,
    resamples: int = RESAMPLES,
) -> tuple[ClaimVerdict, ...]:
    """The verdict on each of `claims`, in their order.

    Args:
        rows: of a run, `records.ROW_COLUMNS`, or anything with `to_frame()` or `rows()`.
        manifest: of the run; `metrics` says which direction is better.
        inference: `RunFolder.inference()`, for claims on the cost of a forward.
        resamples: draws behind each interval and p-value; no p-value is below one in so many.

    Raises:
        InvalidInputError: for rows that cannot be scores, or a claim on a metric that has no
            direction of merit.
        NotComparableError: for arms that were not scored alike.
    """
    frame = as_frame(rows)
    units = {name: spec.unit for name, spec in MODEL_SCORES.items()}
    units |= {name: facts["unit"] for name, facts in manifest.get("metrics", {}).items()}
    directions = _directions(manifest, claims)
    known = [claim for claim in claims if claim.metric in directions]
    comparisons = Comparisons(frame, known, directions, resamples=resamples)
    scope = scope_of(frame, manifest)
    pieces = [_pieces(claim, scope, comparisons) for claim in claims]
    corrected = _corrected([piece for found in pieces for piece in found])
    verdicts = []
    for claim, found in zip(claims, pieces, strict=True):
        missing = missing_in_run(claim, scope)
        if missing:
            verdicts.append(ClaimVerdict(claim, "not_tested", f"not tested: {missing}"))
            continue
        evidence = (
            overhead_evidence(claim, frame, scope, inference)
            if claim.metric == INFERENCE_COST
            else tuple(
                _evidence(p, scope, corrected, comparisons, units[claim.metric]) for p in found
            )
        )
        verdicts.append(_verdict(claim, scope, evidence))
    return tuple(verdicts)


@dataclass(frozen=True, eq=False)
class _Piece:
    """One comparison of a claim: its numbers, or what stands in their way."""

    claim: Claim
    setting: Setting
    method: str
    gain: Gain | None
    missing: str = ""

    @property
    def is_test_of_gain(self) -> bool:
        """Whether its p-value belongs to the family that is corrected for."""
        is_real = self.setting.source != "standin"
        return self.gain is not None and is_real and self.claim.direction == "better"


def _directions(manifest: Mapping[str, Any], claims: Sequence[Claim]) -> dict[str, bool]:
    """By metric, whether higher is better; those that a claim asks for have a direction."""
    found = {name: spec.higher_is_better for name, spec in MODEL_SCORES.items()}
    described = manifest.get("metrics", {})
    found |= {name: facts["higher_is_better"] for name, facts in described.items()}
    for claim in claims:
        if claim.metric in found and found[claim.metric] is None:
            raise InvalidInputError(
                f"claim '{claim.id}': expected a metric that says what is better, got "
                f"{claim.metric}, which only describes; choose another"
            )
    return {name: is_better for name, is_better in found.items() if is_better is not None}


def _pieces(claim: Claim, scope: Scope, comparisons: Comparisons) -> list[_Piece]:
    """Every setting and method of a claim, the primary method's first."""
    if claim.metric == INFERENCE_COST or missing_in_run(claim, scope):
        return []
    pieces = []
    for name in claim.methods or ("",):
        methods = [m for m in scope.methods if base_name(m) == name] if name else [""]
        pieces += [
            _piece(claim, setting, method, scope, comparisons)
            for method in methods
            for setting in scope.settings_of(claim)
        ]
    return pieces


def _piece(
    claim: Claim, setting: Setting, method: str, scope: Scope, comparisons: Comparisons
) -> _Piece:
    gain = comparisons.find(claim, setting, method)
    missing = missing_here(claim, setting, method, scope) if gain is None else ""
    return _Piece(claim, setting, method, gain, missing)


def _corrected(pieces: Sequence[_Piece]) -> dict[_Piece, float]:
    """p-values after Holm's correction over every real test of a gain."""
    tested = [piece for piece in pieces if piece.is_test_of_gain]
    p_values = [math.nan if piece.gain is None else piece.gain.p_value for piece in tested]
    adjusted = holm(np.array(p_values)) if tested else ()
    return {piece: float(p) for piece, p in zip(tested, adjusted, strict=True)}


def _evidence(
    piece: _Piece,
    scope: Scope,
    corrected: Mapping[_Piece, float],
    comparisons: Comparisons,
    unit: str,
) -> Evidence:
    claim, setting, gain = piece.claim, piece.setting, piece.gain
    where = {**setting._asdict(), "method": piece.method}
    if gain is None:
        return Evidence(**where, outcome="not_tested", sentence=piece.missing)
    p_holm = corrected.get(piece, math.nan)
    outcome: Outcome = "not_tested"
    if setting.source == "standin":
        message = gain.note if math.isnan(gain.low) else f"gain {gain_text(gain, unit)}"
        sentence = f"{STANDIN} ({message})"
    elif guessing := hardly_learned(claim, setting, scope):
        outcome, sentence = "inconclusive", guessing
    else:
        controls = _controls(piece, comparisons)
        outcome, sentence = judge(claim, gain, p_holm, unit=unit, controls=controls)
    return Evidence(
        **where,
        outcome=outcome,
        sentence=sentence,
        gain=_known(gain.gain),
        low=_known(gain.low),
        high=_known(gain.high),
        p_value=_known(gain.p_value),
        p_holm=_known(p_holm),
        p_equivalent=_known(gain.p_equivalent),
        num_images=gain.num_images,
        num_seeds=gain.num_seeds,
        protocol=gain.protocol,
    )


def _controls(piece: _Piece, comparisons: Comparisons) -> dict[str, Gain | None]:
    claim, setting, method = piece.claim, piece.setting, piece.method
    arms = {arm: comparisons.find(claim, setting, method, other=arm) for arm in claim.control_arms}
    return arms | {
        control: comparisons.find(claim, setting, method, control=control)
        for control in claim.control_methods
    }


def _verdict(claim: Claim, scope: Scope, evidence: tuple[Evidence, ...]) -> ClaimVerdict:
    primary = claim.methods[0] if claim.methods else ""
    real = [piece for piece in evidence if piece.source != "standin"]
    first = [piece for piece in real if base_name(piece.method) == primary]
    outcomes = [piece.outcome for piece in first]
    further = [piece.outcome for piece in real if base_name(piece.method) != primary]
    outcome = _together([one for one in outcomes if one != "not_tested"])
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
        message = f"not tested: {first[0].sentence if first else ONLY_STANDINS}"
    else:
        message = first[0].sentence if len(first) == 1 else _counts(outcomes, first)
        if not message.startswith(_word(outcome)):
            message = f"{_word(outcome)}: {message}"
    return ClaimVerdict(claim, outcome, "; ".join([message, *notes]), evidence)


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome for all comparisons that were made."""
    found = set(outcomes)
    if not found:
        return "not_tested"
    if len(found) == 1:
        return outcomes[0]
    if "contradicted" in found and "supported" not in found:
        return "contradicted"
    return "inconclusive"


def _counts(outcomes: Sequence[Outcome], named: Sequence[Evidence] = ()) -> str:
    """`supported on 2 of 5 comparisons (cifar10, svhn), inconclusive on 3`; `named` by data set."""
    counts, total = Counter(outcomes), len(outcomes)
    noun = "comparison" if total == 1 else "comparisons"
    if len(counts) == 1:
        every = {1: "the only", 2: "both"}.get(total, f"all {total}")
        return f"{_word(outcomes[0])} on {every} {noun}"
    message: list[str] = []
    for name in (name for name in ORDER if counts[name]):
        of = "" if message else f" of {total} {noun}"
        message.append(f"{_word(name)} on {counts[name]}{of}{_where(name, named)}")
    return ", ".join(message)


def _where(outcome: Outcome, evidence: Sequence[Evidence]) -> str:
    """The data sets of an outcome that says something, in brackets."""
    if outcome in {"inconclusive", "not_tested"}:
        return ""
    found = dict.fromkeys(piece.dataset for piece in evidence if piece.outcome == outcome)
    return f" ({', '.join(found)})" if found else ""


def _word(outcome: Outcome) -> str:
    return outcome.replace("_", " ")


def _known(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
