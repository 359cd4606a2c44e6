"""All paired differences that a set of claims asks for, each computed once.

Claims share arms, images and metrics, and one bootstrap serves every arm that is compared with
the same one; so the arm that is claimed for is the reference of one large comparison, and each
difference is turned round when it is read off.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from lico_bench.claims.records import INFERENCE_COST, Claim
from lico_bench.stats import minus_control, paired_differences

INTERVAL = 0.95  # what is shown
BOUNDS = 0.90  # both its ends are one-sided 95 % bounds: what not_worse is judged by


class Setting(NamedTuple):
    """What the two models of a pair share, the seed aside."""

    dataset: str
    source: str
    backbone: str
    labels: str


@dataclass(frozen=True)
class Gain:
    """A paired difference turned so that larger is better; NaN where there is no such number.

    `lower` and `upper` are one-sided 95 % bounds, NaN where nothing asks for them. `p_value` and
    `p_equivalent` are those of `stats.paired_differences`.
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
    """Differences that one call can compute."""

    arm: str
    control: str
    interval: float
    others: set[str] = field(default_factory=set)
    methods: set[str] = field(default_factory=set)
    effects: dict[str, float] = field(default_factory=dict)

    def takes(self, claim: Claim, control: str, interval: float) -> bool:
        """Whether a difference of `claim` fits: one arm, one control, one effect per metric."""
        same = (self.arm, self.control, self.interval) == (claim.arm, control, interval)
        effect = self.effects.get(claim.metric, claim.smallest_effect)
        return same and effect == claim.smallest_effect


class Comparisons:
    """Looks up what the claims ask for.

    Args:
        rows: of a run, `records.ROW_COLUMNS`.
        is_better: by metric, whether higher is.
        resamples: draws behind each interval and p-value.
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
        self._found: dict[tuple[object, ...], Any] = {}
        for batch in _batches(claims):
            for record in _differences(rows, batch, resamples):
                setting = Setting(record.dataset, record.source, record.backbone, record.labels)
                key = (setting, batch.arm, record.arm, record.method, record.metric)
                effect = batch.effects[record.metric]
                self._found[(*key, effect, batch.control, batch.interval)] = record

    def find(
        self, claim: Claim, setting: Setting, method: str, *, other: str = "", control: str = ""
    ) -> Gain | None:
        """The gain of the claim's arm over `other`, its reference arm if none is named.

        Args:
            control: a method whose gain is subtracted, if any.

        Returns:
            None if no pair has both arms, or nothing of the kind was measured.
        """
        key = (setting, claim.arm, other or claim.reference_arm, method, claim.metric)
        found = self._found.get((*key, claim.smallest_effect, control, INTERVAL))
        if found is None:
            return None
        bounds = self._found.get((*key, claim.smallest_effect, control, BOUNDS))
        # The records say other minus arm.
        sign = -1 if self._is_better[claim.metric] else 1
        low, high = _turned(found, sign)
        lower, upper = (math.nan, math.nan) if bounds is None else _turned(bounds, sign)
        return Gain(
            gain=sign * found.difference,
            low=low,
            high=high,
            p_value=found.p_value,
            p_equivalent=found.p_equivalent,
            num_images=int(found.num_images),
            num_seeds=int(found.num_seeds),
            protocol=str(found.protocol),
            note=str(found.note),
            lower=lower,
            upper=upper,
        )


def base_name(method: str) -> str:
    """A method without its options: `rise` of `rise(num_masks=200)`."""
    return method.partition("(")[0].strip()


def complete_pairs(rows: pd.DataFrame, arm: str, other: str) -> frozenset[str]:
    """Pairs that have both arms; an interrupted run has others."""
    arms = rows.groupby("pair", observed=True)["arm"].unique()
    return frozenset(str(pair) for pair, found in arms.items() if {arm, other} <= set(found))


def _batches(claims: Iterable[Claim]) -> list[_Batch]:
    batches: list[_Batch] = []
    for claim in claims:
        if claim.metric == INFERENCE_COST:
            continue
        for others, control, interval in _wishes(claim):
            for batch in batches:
                if batch.takes(claim, control, interval):
                    break
            else:
                batch = _Batch(claim.arm, control, interval)
                batches.append(batch)
            batch.others |= others
            batch.methods.update(claim.methods or ("",))
            batch.effects[claim.metric] = claim.smallest_effect
    return batches


def _wishes(claim: Claim) -> Iterator[tuple[set[str], str, float]]:
    """Arms to compare with, a control method to subtract, and the coverage, of a claim."""
    yield {claim.reference_arm, *claim.control_arms}, "", INTERVAL
    if claim.direction == "not_worse":
        yield {claim.reference_arm}, "", BOUNDS
    for control in claim.control_methods:
        yield {claim.reference_arm}, control, INTERVAL


def _differences(rows: pd.DataFrame, batch: _Batch, resamples: int) -> Iterator[Any]:
    """Records of `paired_differences`, each other arm minus the batch's."""
    kept = [name for name in rows["method"].unique()
            if base_name(name) in {*batch.methods, batch.control}]  # fmt: skip
    wanted = rows["arm"].isin([batch.arm, *batch.others]) & rows["metric"].isin(batch.effects)
    rows = rows[wanted & rows["method"].isin(kept)]
    if batch.control:
        # Looked for in what is left: a run may have neither of these arms, or not this metric.
        found = (name for name in rows["method"].unique() if base_name(name) == batch.control)
        control = next(found, None)
        if control is None:
            return
        rows = minus_control(rows, control)
    for others, pairs in _alike(rows, batch):
        is_part = rows["arm"].isin([batch.arm, *others]) & rows["pair"].isin(pairs)
        yield from paired_differences(
            rows if is_part.all() else rows[is_part],  # a copy of millions of rows takes seconds
            interval=batch.interval,
            reference_arm=batch.arm,
            smallest_effects=batch.effects,
            resamples=resamples,
        ).itertuples(index=False)


def _alike(rows: pd.DataFrame, batch: _Batch) -> Iterator[tuple[list[str], frozenset[str]]]:
    """Other arms that are complete in the same pairs, and those pairs."""
    groups: dict[frozenset[str], list[str]] = {}
    models = rows[["pair", "arm"]].drop_duplicates()
    for other in sorted(batch.others):
        pairs = complete_pairs(models, batch.arm, other)
        if pairs:
            groups.setdefault(pairs, []).append(other)
    for pairs, others in groups.items():
        yield others, pairs


def _turned(record: Any, sign: int) -> tuple[float, float]:
    ends = sorted((sign * record.low, sign * record.high))
    return ends[0], ends[1]
