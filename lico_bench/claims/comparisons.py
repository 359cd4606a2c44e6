"""The comparisons that a set of claims needs: paired differences, and the cost of a forward pass.

Each paired difference is computed once. One bootstrap serves all arms that are compared with the
same arm. The claimed arm is therefore the reference arm of one large comparison, and the sign of
each difference is flipped on look-up. The cost is compared by exact counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from lico_bench.claims.records import INFERENCE_COST, Claim, Outcome
from lico_bench.stats import minus_control, paired_differences

COUNTS = ("parameters", "gigaflop")


class Setting(NamedTuple):
    """Properties that the two models of a pair share, besides the seed."""

    dataset: str
    source: str
    backbone: str
    labels: str


@dataclass(frozen=True)
class Gain:
    """A paired difference with the sign such that larger is better; NaN for a missing number.

    Attributes:
        reference: mean of the reference arm, with the same sign.
        lower, upper: one-sided 95 % bounds.
        error: standard error.
        p_value, p_equivalent: as in `stats.paired_differences`.
        p_harm: of the one-sided test for a loss beyond the smallest effect.
    """

    gain: float
    low: float
    high: float
    lower: float
    upper: float
    reference: float
    error: float
    p_value: float
    p_harm: float
    p_equivalent: float
    num_images: int
    num_seeds: int
    protocol: str
    note: str


@dataclass
class _Batch:
    """Differences that one call of `paired_differences` computes."""

    arm: str
    control: str
    others: set[str] = field(default_factory=set)
    methods: set[str] = field(default_factory=set)
    effects: dict[str, float] = field(default_factory=dict)


class Comparisons:
    """The paired differences of all claims, computed on creation.

    Args:
        rows: rows of a run, `records.ROW_COLUMNS`.
        is_better: whether a higher value is better, by metric.
        resamples: draws per interval and p-value.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        claims: Iterable[Claim],
        is_better: Mapping[str, bool],
        *,
        resamples: int,
    ) -> None:
        self._is_better = is_better
        self._records: dict[tuple[object, ...], Any] = {}
        for batch in _batches(claims):
            for record in _differences(rows, batch, resamples):
                setting = Setting(record.dataset, record.source, record.backbone, record.labels)
                key = (setting, batch.arm, record.arm, record.method, record.metric)
                effect = batch.effects[record.metric]
                self._records[(*key, effect, batch.control)] = record

    def find(
        self, claim: Claim, setting: Setting, method: str, *, other: str = "", is_raw: bool = False
    ) -> Gain | None:
        """Return the gain of the claim's arm over `other`, by default its reference arm.

        Args:
            is_raw: whether the score of the claim's control map is not subtracted.

        Returns:
            None if no pair has both arms, or the metric was not measured.
        """
        key = (setting, claim.arm, other or claim.reference_arm, method, claim.metric)
        control = "" if is_raw else claim.control_map
        record = self._records.get((*key, claim.smallest_effect, control))
        if record is None:
            return None
        # The records hold other minus arm.
        sign = -1 if self._is_better[claim.metric] else 1
        low, high = sorted((sign * record.test_low, sign * record.test_high))
        lower, upper = sorted((sign * record.lower, sign * record.upper))
        parts = [part for part in (record.seed_part, record.image_part) if math.isfinite(part)]
        return Gain(
            gain=sign * record.difference,
            low=low,
            high=high,
            lower=lower,
            upper=upper,
            reference=-sign * record.mean,
            error=math.hypot(*parts) if parts else math.nan,
            p_value=record.p_value,
            p_harm=record.p_beyond if sign * record.difference < 0 else 1.0,
            p_equivalent=record.p_equivalent,
            num_images=int(record.num_images),
            num_seeds=int(record.num_seeds),
            protocol=str(record.protocol),
            note=str(record.note),
        )


def base_name(method: str) -> str:
    """Return a method without its options: `rise` for `rise(num_masks=200)`."""
    return method.partition("(")[0].strip()


def complete_pairs(rows: pd.DataFrame, arm: str, other: str) -> frozenset[str]:
    """Return the pairs that have both arms; an interrupted run has incomplete pairs."""
    arms = rows.groupby("pair", observed=True)["arm"].unique()
    return frozenset(str(pair) for pair, present in arms.items() if {arm, other} <= set(present))


def cost_outcome(claim: Claim, cells: pd.DataFrame) -> tuple[Outcome, str]:
    """Return harm if a pair has a higher count than the reference, else equivalent or improvement.

    Args:
        cells: pair, arm and counts of each cell of complete pairs.
    """
    if cells.empty:
        return "not_tested", "no pair is complete; repeat the same `lico-bench run`"
    if not {*COUNTS} <= {*cells} or cells[list(COUNTS)].isna().any(axis=None):
        return (
            "not_tested",
            "the run was made before the cost of a forward was counted; a new run counts it",
        )
    counts = cells.set_index("pair").sort_index()
    arm = counts[counts["arm"] == claim.arm]
    reference = counts[counts["arm"] == claim.reference_arm]
    is_more: Any = (arm[list(COUNTS)] > reference[list(COUNTS)]).any(axis=1)
    pair = is_more.idxmax()  # the first pair unless one needs more
    ours, theirs = _counts_text(arm.loc[pair]), _counts_text(reference.loc[pair])
    than = f"than {claim.reference_arm}: {ours} against {theirs}"
    if is_more.any():
        return "harm", f"{claim.arm} needs more {than}"
    if (arm[list(COUNTS)] == reference[list(COUNTS)]).all(axis=None):
        return "equivalent", f"equal in both arms: {ours}"
    return "improvement", f"{claim.arm} needs less {than}"


def _counts_text(cell: Any) -> str:
    # "picture", because published reports contain this sentence.
    return f"{int(cell['parameters']):,} parameters, {cell['gigaflop']:.6g} GFLOP per picture"


def _batches(claims: Iterable[Claim]) -> Iterable[_Batch]:
    batches: dict[tuple[object, ...], _Batch] = {}
    effects: dict[str, list[float]] = {}
    for claim in claims:
        if claim.metric == INFERENCE_COST:
            continue
        effect = claim.smallest_effect
        of_metric = effects.setdefault(claim.metric, [])
        if effect not in of_metric:
            of_metric.append(effect)
        for control in dict.fromkeys((claim.control_map, "")):
            # A metric has one smallest effect in a batch.
            key = (claim.arm, control, of_metric.index(effect))
            batch = batches.setdefault(key, _Batch(claim.arm, control))
            controls = claim.control_arms if control == claim.control_map else ()
            batch.others |= {claim.reference_arm, *controls}
            batch.methods.update(claim.methods or ("",))
            batch.effects[claim.metric] = effect
    return batches.values()


def _differences(rows: pd.DataFrame, batch: _Batch, resamples: int) -> Iterator[Any]:
    """Yield the records of `paired_differences`: each other arm minus the batch's arm."""
    methods = [name for name in rows["method"].unique()
               if base_name(name) in {*batch.methods, batch.control}]  # fmt: skip
    is_used = rows["arm"].isin([batch.arm, *batch.others]) & rows["metric"].isin(batch.effects)
    rows = rows[is_used & rows["method"].isin(methods)]
    if batch.control:
        # Searched in the filtered rows: the run may lack these arms or this metric.
        controls = (name for name in rows["method"].unique() if base_name(name) == batch.control)
        control = next(controls, None)
        if control is None:
            return
        rows = minus_control(rows, control)
    models = rows[["pair", "arm"]].drop_duplicates()
    groups: dict[frozenset[str], list[str]] = {}
    for other in sorted(batch.others):
        groups.setdefault(complete_pairs(models, batch.arm, other), []).append(other)
    for pairs, others in groups.items():
        if not pairs:
            continue
        is_compared = rows["arm"].isin([batch.arm, *others]) & rows["pair"].isin(pairs)
        yield from paired_differences(
            # Copying millions of rows takes seconds.
            rows if is_compared.all() else rows[is_compared],
            reference_arm=batch.arm,
            smallest_effects=batch.effects,
            resamples=resamples,
        ).itertuples(index=False)
