"""Verdicts on claims from the paired comparisons of a run: rules 2, declared on 1 December 2026.

The gain g of a comparison is the paired difference between the claim's arm and its reference arm,
larger is better. On maps it is the gain of the map minus the gain of a control map that ignores
the model, on the same images and models: a more confident model has larger areas whatever its maps.
d is the smallest effect of interest. All tests are those of `stats.significance`, at 5 %.

Admission: `missing_evidence.not_admitted`, by the reference arm alone. A comparison that is not
admitted, or on stand-ins, is outside of all families below.

Families: each claim has one primary comparison, of its primary method on the first of its primary
datasets that is admitted. It stays the primary one if the other arm failed there or has fewer
trainings than the claim requires, which leaves the claim not tested or inconclusive. Holm's
correction covers the primary comparisons of all claims of a gain, and within each claim its other
datasets. Further methods are exploratory: q-values of Benjamini and Hochberg over all claims.

    better       equivalent       |g| < d is significant (two one-sided tests)
                 improvement      g > 0, and the corrected p-value is below 0.05
                 harm             g < 0, and the corrected p-value is below 0.05
                 gain ruled out   g < d is significant (one-sided)
    not_worse    loss ruled out   g > -d is significant (one-sided)
                 harm             g < -d is significant (one-sided, Holm over the claim's datasets)

and inconclusive otherwise. The tests for gain ruled out and loss ruled out are not corrected: a
claim that no loss occurs holds only if every comparison rules it out (Berger, Technometrics 1982).
An improvement must also beat the control arms, arms without the claimed component, each with a
p-value below 0.05; otherwise, or if one was not run, it is inconclusive.

The verdict is the outcome of the primary comparison, with its scope. Of a claim not_worse it is the
outcome of all admitted datasets together. If another dataset has the opposite outcome, the verdict
is inconclusive. The mean over four or more datasets (`stats.paired`) is shown beside it.

`benchmarks/verdict_error.py` simulates the whole procedure.

Source: Schuirmann, J. Pharmacokinetics and Biopharmaceutics 1987 (two one-sided tests); Holm,
Scandinavian Journal of Statistics 1979; Benjamini and Hochberg, J. Royal Statistical Society B
1995; Piaggio et al., JAMA 2012 (non-inferiority).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, get_args

import pandas as pd

from lico_bench.claims.comparisons import (
    Comparisons,
    Setting,
    base_name,
    complete_pairs,
    cost_outcome,
)
from lico_bench.claims.missing_evidence import Scope, missing_in_run, scope_of
from lico_bench.claims.outcomes import (
    STANDIN,
    Comparison,
    compare_claim,
    correct_families,
    exclude_untested,
    judge,
    pooled_gain,
    too_few,
)
from lico_bench.claims.records import INFERENCE_COST, Claim, ClaimVerdict, Evidence, Outcome
from lico_bench.errors import InvalidInputError
from lico_bench.number_text import signed
from lico_bench.stats import MODEL_SCORES, as_frame
from lico_bench.stats.bootstrap import RESAMPLES
from lico_bench.stats.paired import PooledDifference
from lico_bench.store.run_records import Manifest

ONLY_STANDINS = (
    "stand-ins only, which say nothing of the real data sets; "
    "name the folder with the real images with --data-root"
)
OPPOSITE: Mapping[Outcome, Outcome] = MappingProxyType(
    {"improvement": "harm", "harm": "improvement"}
)
DECISIVE = ("improvement", "harm", "gain_ruled_out", "loss_ruled_out", "equivalent")


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
        [] if reason else compare_claim(claim, scope, comparisons)
        for claim, reason in zip(claims, missing, strict=True)
    ]
    exclude_untested(compared, scope, specs)
    correct_families(compared)
    verdicts = []
    for claim, reason, items in zip(claims, missing, compared, strict=True):
        if reason:
            verdicts.append(ClaimVerdict(claim, "not_tested", f"not tested: {reason}"))
            continue
        if claim.metric == INFERENCE_COST:
            evidence = _cost_evidence(claim, scope, frame, inference)
        else:
            unit = specs[claim.metric].unit
            evidence = tuple(_evidence(item, comparisons, unit) for item in items)
        verdicts.append(_verdict(claim, scope, evidence, pooled_gain(items)))
    return tuple(verdicts)


def _evidence(item: Comparison, comparisons: Comparisons, unit: str) -> Evidence:
    claim, setting, method, gain = item.claim, item.setting, item.method, item.gain
    where = {**setting._asdict(), "method": method}
    if gain is None or item.excluded is not None:
        outcome, sentence = item.excluded or ("not_tested", "")
    else:
        controls = {
            arm: comparisons.find(claim, setting, method, other=arm) for arm in claim.control_arms
        }
        outcome, sentence = judge(
            claim, gain, item.p_corrected, family=item.family, unit=unit, controls=controls
        )
    if gain is None:
        return Evidence(**where, outcome=outcome, sentence=sentence, family=item.family)
    raw = comparisons.find(claim, setting, method, is_raw=True) if claim.control_map else gain
    raw_gain, raw_low, raw_high = (raw.gain, raw.low, raw.high) if raw else (math.nan,) * 3
    return Evidence(
        **where,
        outcome=outcome,
        sentence=sentence,
        gain=_finite(gain.gain),
        low=_finite(gain.low),
        high=_finite(gain.high),
        raw_gain=_finite(raw_gain),
        raw_low=_finite(raw_low),
        raw_high=_finite(raw_high),
        family=item.family,
        p_value=_finite(gain.p_value),
        p_corrected=_finite(item.p_corrected),
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
            outcome, sentence = "inconclusive", f"{too_few(claim, len(pairs))}; {sentence}"
        where = {**setting._asdict(), "method": ""}
        found.append(Evidence(**where, outcome=outcome, sentence=sentence, num_seeds=len(pairs)))
    return tuple(found)


def _verdict(
    claim: Claim, scope: Scope, evidence: tuple[Evidence, ...], pooled: PooledDifference | None
) -> ClaimVerdict:
    real = [item for item in evidence if item.source != "standin"]
    primary = claim.methods[0] if claim.methods else ""
    first = [item for item in real if base_name(item.method) == primary]
    further = [item.outcome for item in real if base_name(item.method) != primary]
    tested = [item for item in first if item.outcome != "not_tested"]
    decided = next((item for item in first if item.family == "primary"), None)
    notes = []
    if not tested and decided is None:
        outcome: Outcome = "not_tested"
        # Reasons of datasets where the metric is defined come first.
        reasons = sorted(first, key=lambda item: item.gain is None)
        sentence = f"not tested: {reasons[0].sentence if reasons else ONLY_STANDINS}"
    elif claim.direction == "not_worse" and len(tested) > 1:
        outcome = _combined([item.outcome for item in tested])
        counts = _counts(tested)
        sentence = counts if counts.startswith(_word(outcome)) else f"{_word(outcome)}: {counts}"
    else:
        decided = decided or tested[0]
        outcome = decided.outcome
        sentence = f"{_word(outcome)} on {_scope(decided)}: {decided.sentence}"
        others = [item for item in tested if item is not decided]
        if others:
            notes.append(f"other settings: {_counts(others)}")
        if any(item.outcome == OPPOSITE.get(outcome) for item in others):
            outcome = "inconclusive"
            sentence = f"inconclusive: settings contradict each other: {sentence}"
    if pooled is not None:
        notes.append(_pooled_text(pooled, scope, claim))
    if further:
        notes.append(f"further methods: {_counts_text(further)}")
    left_out = [i.dataset for i in first if i.outcome == "not_tested" and i is not decided]
    if (tested or decided) and left_out:
        notes.append(f"not tested on {', '.join(dict.fromkeys(left_out))}")
    if real and len(real) < len(evidence):
        notes.append("stand-ins left out")
    if scope.absent(claim):
        notes.append(f"not in this run: {', '.join(scope.absent(claim))}")
    return ClaimVerdict(claim, outcome, "; ".join([sentence, *notes]), evidence, pooled)


def _scope(item: Evidence) -> str:
    """Return the setting of a comparison and its size."""
    labels = "" if item.labels == "full" else f", {item.labels} labels"
    size = ""
    if item.num_images:
        trainings = "1 training" if item.num_seeds == 1 else f"{item.num_seeds} trainings"
        images = "1 image" if item.num_images == 1 else f"{item.num_images:,} images"
        size = f", {trainings}, {images}"
    return f"{item.dataset} ({item.backbone}{labels}{size})"


def _pooled_text(pooled: PooledDifference, scope: Scope, claim: Claim) -> str:
    numbers = (
        pooled.mean, pooled.low, pooled.high, pooled.predicted_low, pooled.predicted_high,
    )  # fmt: skip
    unit = {**MODEL_SCORES, **scope.manifest.metrics}[claim.metric].unit
    scale, digits = (100, 2) if unit.startswith("share") else (1, 4)
    mean, low, high, predicted_low, predicted_high = (signed(scale * n, digits) for n in numbers)
    return (
        f"mean over {pooled.num_datasets} data sets {mean} [{low}, {high}], for one more "
        f"[{predicted_low}, {predicted_high}], I² {pooled.i_squared:.0%}"
    )


def _combined(outcomes: Sequence[Outcome]) -> Outcome:
    """Return one outcome for the datasets of a claim that must hold on all of them."""
    if "harm" in outcomes:
        return "harm"
    if set(outcomes) == {"equivalent", "improvement"}:  # of costs
        return "equivalent"
    return outcomes[0] if len(set(outcomes)) == 1 else "inconclusive"


def _counts(items: Sequence[Evidence]) -> str:
    """Return text such as `harm on 2 of 5 (cifar10, svhn), inconclusive on 3`."""
    datasets = {
        outcome: [item.dataset for item in items if item.outcome == outcome] for outcome in DECISIVE
    }
    return _counts_text([item.outcome for item in items], datasets)


def _counts_text(
    outcomes: Sequence[Outcome], datasets: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> str:
    counts, total = Counter(outcomes), len(outcomes)
    parts: list[str] = []
    for name in filter(counts.get, get_args(Outcome)):
        of = "" if parts else f" of {total}"
        names = ", ".join(dict.fromkeys(datasets.get(name, ())))
        parts.append(f"{_word(name)} on {counts[name]}{of}{f' ({names})' if names else ''}")
    return ", ".join(parts)


def _word(outcome: Outcome) -> str:
    return outcome.replace("_", " ")
