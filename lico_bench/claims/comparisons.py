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

INTERVAL = 0.95  # coverage of reported intervals
COUNTS = ("parameters", "gigaflop")
BOUNDS = 0.90  # its ends are one-sided 95 % bounds, which decide not_worse


class Setting(NamedTuple):
    """Properties that the two models of a pair share, besides the seed."""

    dataset: str
    source: str
    backbone: str
    labels: str


@dataclass(frozen=True)
class Gain:
    """A paired difference with the sign such that larger is better; NaN for a missing number.

    `lower` and `upper` are one-sided 95 % bounds, NaN for claims that do not use them. `p_value`
    and `p_equivalent` come from `stats.paired_differences`.
    """

    gain: float
    low: float
    high: float
    p_value: float
    p_equivalent: float
    num_images: int
    num_seeds: int
    protocol: str
    note: str
    lower: float = math.nan
    upper: float = math.nan


@dataclass
class _Batch:
    """Differences that one call of `paired_differences` computes."""

    arm: str
    control: str
    interval: float
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
                self._records[(*key, effect, batch.control, batch.interval)] = record

    def find(
        self, claim: Claim, setting: Setting, method: str, *, other: str = "", control: str = ""
    ) -> Gain | None:
        """Return the gain of the claim's arm over `other`, by default its reference arm.

        Args:
            control: a control method whose gain is subtracted.

        Returns:
            None if no pair has both arms, or the metric was not measured.
        """
        key = (setting, claim.arm, other or claim.reference_arm, method, claim.metric)
        record = self._records.get((*key, claim.smallest_effect, control, INTERVAL))
        if record is None:
            return None
        bounds = self._records.get((*key, claim.smallest_effect, control, BOUNDS))
        # The records hold other minus arm.
        sign = -1 if self._is_better[claim.metric] else 1
        low, high = sorted((sign * record.low, sign * record.high))
        lower, upper = math.nan, math.nan
        if bounds is not None:
            lower, upper = sorted((sign * bounds.low, sign * bounds.high))
        return Gain(
            gain=sign * record.difference,
            low=low,
            high=high,
            p_value=record.p_value,
            p_equivalent=record.p_equivalent,
            num_images=int(record.num_images),
            num_seeds=int(record.num_seeds),
            protocol=str(record.protocol),
            note=str(record.note),
            lower=lower,
            upper=upper,
        )


def base_name(method: str) -> str:
    """Return a method without its options: `rise` for `rise(num_masks=200)`."""
    return method.partition("(")[0].strip()


def complete_pairs(rows: pd.DataFrame, arm: str, other: str) -> frozenset[str]:
    """Return the pairs that have both arms; an interrupted run has incomplete pairs."""
    arms = rows.groupby("pair", observed=True)["arm"].unique()
    return frozenset(str(pair) for pair, present in arms.items() if {arm, other} <= set(present))


def cost_outcome(claim: Claim, cells: pd.DataFrame) -> tuple[Outcome, str]:
    """Return supported if no pair has a higher count than the reference, else contradicted.

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
        return "contradicted", f"{claim.arm} needs more {than}"
    if (arm[list(COUNTS)] == reference[list(COUNTS)]).all(axis=None):
        return "supported", f"equal in both arms: {ours}"
    return "supported", f"{claim.arm} needs less {than}"


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
        for others, control, interval in _needed_differences(claim):
            # A metric has one smallest effect in a batch.
            key = (claim.arm, control, interval, of_metric.index(effect))
            batch = batches.setdefault(key, _Batch(claim.arm, control, interval))
            batch.others |= others
            batch.methods.update(claim.methods or ("",))
            batch.effects[claim.metric] = effect
    return batches.values()


def _needed_differences(claim: Claim) -> Iterator[tuple[set[str], str, float]]:
    """Yield other arms, control method ("" for none) and interval coverage for a claim."""
    yield {claim.reference_arm, *claim.control_arms}, "", INTERVAL
    if claim.direction == "not_worse":
        yield {claim.reference_arm}, "", BOUNDS
    for control in claim.control_methods:
        yield {claim.reference_arm}, control, INTERVAL


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
            interval=batch.interval,
            reference_arm=batch.arm,
            smallest_effects=batch.effects,
            resamples=resamples,
        ).itertuples(index=False)
