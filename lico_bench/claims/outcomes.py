"""The comparisons of all claims: which are tested, in which family, and the outcome of each.

`judging` has the rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lico_bench.claims.comparisons import Comparisons, Gain, Setting, base_name
from lico_bench.claims.missing_evidence import Scope, missing_in_setting, not_admitted
from lico_bench.claims.records import INFERENCE_COST, Claim, ClaimVerdict, Family, Outcome
from lico_bench.number_text import signed
from lico_bench.records import MetricSpec
from lico_bench.stats import holm
from lico_bench.stats.paired import LEAST_DATASETS, PooledDifference, pooled_difference
from lico_bench.stats.significance import false_discovery

STANDIN = "drawn scenes in place of the data set: no test of the claim"
LEVEL = 0.05


@dataclass
class Comparison:
    """One comparison of a claim.

    Attributes:
        gain: None if the run lacks it.
        is_admitted: whether the reference arm admits it to the tests.
        excluded: outcome and sentence of a comparison that is not tested; None for a tested one.
        p_corrected: p-value or q-value within `family`.
    """

    claim: Claim
    setting: Setting
    method: str
    gain: Gain | None
    is_admitted: bool = False
    excluded: tuple[Outcome, str] | None = None
    family: Family | None = None
    p_corrected: float = math.nan


def compare_claim(claim: Claim, scope: Scope, comparisons: Comparisons) -> list[Comparison]:
    """Return the comparisons of a claim over methods and settings, the primary method first."""
    if claim.metric == INFERENCE_COST:
        return []
    methods = [m for name in claim.methods for m in scope.methods if base_name(m) == name]
    return [
        Comparison(claim, setting, method, comparisons.find(claim, setting, method))
        for method in (methods if claim.methods else [""])
        for setting in scope.settings_of(claim)
    ]


def exclude_untested(
    compared: Sequence[Sequence[Comparison]], scope: Scope, specs: Mapping[str, MetricSpec]
) -> None:
    """Set which comparisons are admitted, and the outcome of those that are not tested."""
    for item in (item for items in compared for item in items):
        claim, gain, message = item.claim, item.gain, ""
        if gain is not None:
            size = gain_text(gain, specs[claim.metric].unit)
            message = gain.note if math.isnan(gain.low) else f"gain {size}"
        if item.setting.source == "standin" and gain is not None:
            item.excluded = "not_tested", f"{STANDIN} ({message})"
            continue
        reason = not_admitted(claim, item.setting, gain, scope)
        is_scored = (item.setting, item.method, claim.metric) in scope.scored
        item.is_admitted = not reason and is_scored and item.setting.source != "standin"
        if gain is None:
            missing = missing_in_setting(claim, item.setting, item.method, scope)
            item.excluded = "not_tested", missing
        elif reason:
            item.excluded = "not_tested", f"{reason} ({message})"
        elif math.isnan(gain.low):
            item.excluded = "inconclusive", gain.note or "there is no interval"
        elif gain.num_seeds < claim.min_seeds:
            item.excluded = "inconclusive", f"{too_few(claim, gain.num_seeds)}; {message}"


def correct_families(compared: Sequence[Sequence[Comparison]]) -> None:
    """Set family and corrected p-value of the comparisons that are tested."""
    primary: list[Comparison] = []
    exploratory: list[Comparison] = []
    for items in compared:
        admitted = [item for item in items if item.is_admitted]
        of_method = [item for item in admitted if _is_primary_method(item.claim, item.method)]
        first = min(of_method, key=_rank, default=None)
        others = [item for item in of_method if item is not first]
        further = [item for item in admitted if not _is_primary_method(item.claim, item.method)]
        families: dict[Family, list[Comparison]] = {
            "primary": [first] if first else [], "claim": others, "exploratory": further,
        }  # fmt: skip
        for family, members in families.items():
            for item in members:
                item.family = family
        if items and items[0].claim.direction == "not_worse":
            _set_corrected(of_method, holm, is_harm=True)
            _set_corrected(further, holm, is_harm=True)
        else:
            primary += families["primary"]
            exploratory += further
            _set_corrected(others, holm)
    _set_corrected(primary, holm)
    _set_corrected(exploratory, false_discovery)


def _rank(item: Comparison) -> tuple[int, str, int, str, str]:
    """Return the place of a comparison in the claim's declared order, whatever that of the run."""
    claim, setting = item.claim, item.setting
    return (
        _place(setting.dataset, claim.primary_datasets),
        setting.dataset,
        _place(setting.labels, claim.labels or ("full",)),
        setting.backbone,
        item.method,
    )


def _place(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def _is_primary_method(claim: Claim, method: str) -> bool:
    """Return whether a comparison of this method decides its claim."""
    return not method or base_name(method) == claim.methods[0]


def _set_corrected(
    items: Sequence[Comparison],
    correct: Callable[[ArrayLike], NDArray[np.float64]],
    *,
    is_harm: bool = False,
) -> None:
    tested = [(item, item.gain) for item in items if item.excluded is None and item.gain]
    p_values = [gain.p_harm if is_harm else gain.p_value for _, gain in tested]
    for (item, _), corrected in zip(tested, correct(p_values), strict=True):
        item.p_corrected = float(corrected)


def pooled_gain(items: Sequence[Comparison]) -> PooledDifference | None:
    """Return the mean gain over the tested datasets of the primary method; None for too few."""
    gains: dict[str, Gain] = {}
    for item in sorted(items, key=_rank):
        if (
            item.excluded is None
            and item.gain is not None
            and _is_primary_method(item.claim, item.method)
        ):
            gains.setdefault(item.setting.dataset, item.gain)
    known = [gain for gain in gains.values() if gain.error > 0]
    if len(known) < LEAST_DATASETS:
        return None
    return pooled_difference([g.gain for g in known], [g.error for g in known])


def outcome_of(claim: Claim, gain: Gain, p_corrected: float) -> Outcome:
    """Return the outcome of a tested comparison without regard to control arms.

    NaN compares False, which gives inconclusive.
    """
    effect = claim.smallest_effect
    if claim.direction == "not_worse":
        if gain.lower > -effect:
            return "loss_ruled_out"
        return "harm" if p_corrected < LEVEL else "inconclusive"
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
        objection = f"control {name} was not run"
        if control is not None:
            objection = _objection(claim, name, control, unit)
        if objection:
            return "inconclusive", f"{reason}, but {objection}"
    return outcome, reason


def gain_text(gain: Gain, unit: str) -> str:
    """Return `+0.0123 [+0.0050, +0.0196] probability`; shares are in percentage points."""
    is_share = unit.startswith("share")
    scale, digits, name = (100, 2, "percentage points") if is_share else (1, 4, unit)
    middle, low, high = (signed(scale * n, digits) for n in (gain.gain, gain.low, gain.high))
    return f"{middle} [{low}, {high}] {name}"


def p_text(p_value: float, symbol: str = "p") -> str:
    """Return the p-value with three digits, or `p < 0.001`."""
    if p_value < 0.001:
        return f"{symbol} < 0.001"
    # Not rounded up to the level: 0.04996 is below 0.05.
    digits = 3 if round(p_value, 3) != LEVEL or p_value == LEVEL else 5
    return f"{symbol} = {p_value:.{digits}f}"


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
            "harm": f"{message}: a loss of more than {effect}, {p_text(p_corrected)}",
        }.get(outcome, f"{message}: a loss of {effect} is neither ruled out nor sure")
    if outcome == "equivalent":
        return f"{message}: smaller than {effect}, {p_text(gain.p_equivalent)}"
    if outcome == "gain_ruled_out":
        return f"{message}: a gain of {effect} is ruled out"
    if math.isnan(p_corrected):
        return message
    corrected = {"exploratory": p_text(p_corrected, "q")}.get(
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


class IntervalWidth(NamedTuple):
    """Half-width of a primary interval beside the smallest effect of interest."""

    title: str
    half_width: float
    smallest_effect: float

    @property
    def is_wide(self) -> bool:
        """Whether the interval cannot tell the smallest effect from none."""
        return self.half_width >= self.smallest_effect


def interval_widths(verdicts: Iterable[ClaimVerdict]) -> list[IntervalWidth]:
    """Return the width of each primary interval.

    Primary are the comparisons of `Evidence.family`; in a run of stand-ins alone, those of the
    claims' primary methods.
    """
    widths = []
    for verdict in verdicts:
        claim = verdict.claim
        real = [item for item in verdict.evidence if item.source != "standin"]
        primary = [item for item in real if item.family == "primary"]
        if not real:
            primary = [item for item in verdict.evidence if _is_primary_method(claim, item.method)]
        for item in primary:
            if item.low is not None and item.high is not None:
                title = f"{claim.title} on {item.dataset}"
                half_width = (item.high - item.low) / 2
                widths.append(IntervalWidth(title, half_width, claim.smallest_effect))
    return widths
