"""The comparisons of all claims: which are tested, and in which family of tests each is.

`judging` has the rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lico_bench.claims.comparisons import Comparisons, Gain, Setting, base_name
from lico_bench.claims.missing_evidence import Scope, missing_in_setting, not_admitted
from lico_bench.claims.outcomes import gain_text, too_few
from lico_bench.claims.records import INFERENCE_COST, Claim, Family, Outcome
from lico_bench.records import MetricSpec
from lico_bench.stats import holm
from lico_bench.stats.pooling import LEAST_DATASETS, PooledDifference, pooled_difference
from lico_bench.stats.sign_flips import false_discovery

STANDIN = "drawn scenes in place of the data set: no test of the claim"


@dataclass
class Comparison:
    """One comparison of a claim.

    Attributes:
        gain: None if the run lacks it.
        excluded: outcome and sentence of a comparison that is not tested; None for a tested one.
        p_corrected: p-value or q-value within `family`.
    """

    claim: Claim
    setting: Setting
    method: str
    gain: Gain | None
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
    """Set the outcome of the comparisons that are not tested."""
    for item in (item for items in compared for item in items):
        claim, gain = item.claim, item.gain
        if gain is None:
            reason = missing_in_setting(claim, item.setting, item.method, scope)
            item.excluded = "not_tested", reason
            continue
        unit = specs[claim.metric].unit
        message = gain.note if math.isnan(gain.low) else f"gain {gain_text(gain, unit)}"
        if item.setting.source == "standin":
            item.excluded = "not_tested", f"{STANDIN} ({message})"
        elif math.isnan(gain.low):
            item.excluded = "inconclusive", gain.note or "there is no interval"
        elif reason := not_admitted(claim, item.setting, gain, scope):
            item.excluded = "not_tested", f"{reason} ({message})"
        elif gain.num_seeds < claim.min_seeds:
            item.excluded = "inconclusive", f"{too_few(claim, gain.num_seeds)}; {message}"


def correct_families(compared: Sequence[Sequence[Comparison]]) -> None:
    """Set family and corrected p-value of the comparisons that are tested for a gain."""
    primary: list[Comparison] = []
    exploratory: list[Comparison] = []
    for items in compared:
        tested = [item for item in items if item.excluded is None]
        if not tested:
            continue
        of_method = [item for item in tested if is_primary_method(item)]
        first = min(of_method, key=_rank, default=None)
        others = [item for item in of_method if item is not first]
        further = [item for item in tested if not is_primary_method(item)]
        for family, members in (
            ("primary", [first] if first else []), ("claim", others), ("exploratory", further),
        ):  # fmt: skip
            for item in members:
                item.family = cast(Family, family)
        if items[0].claim.direction == "better":
            primary += [first] if first else []
            exploratory += further
            _set_corrected(others, holm)
    _set_corrected(primary, holm)
    _set_corrected(exploratory, false_discovery)


def _rank(item: Comparison) -> int:
    """Return the place of a dataset in the claim's declared order; others follow in run order."""
    order = item.claim.primary_datasets
    return order.index(item.setting.dataset) if item.setting.dataset in order else len(order)


def is_primary_method(item: Comparison) -> bool:
    """Return whether a comparison is of the method that decides its claim."""
    return not item.method or base_name(item.method) == item.claim.methods[0]


def _set_corrected(
    items: Sequence[Comparison], correct: Callable[[ArrayLike], NDArray[np.float64]]
) -> None:
    p_values = [item.gain.p_value for item in items if item.gain is not None]
    for item, corrected in zip(items, correct(p_values), strict=True):
        item.p_corrected = float(corrected)


def pooled_gain(items: Sequence[Comparison]) -> PooledDifference | None:
    """Return the mean gain over the tested datasets of the primary method; None for too few."""
    gains: dict[str, Gain] = {}
    for item in items:
        if item.excluded is None and item.gain is not None and is_primary_method(item):
            gains.setdefault(item.setting.dataset, item.gain)
    known = [gain for gain in gains.values() if gain.error > 0]
    if len(known) < LEAST_DATASETS:
        return None
    return pooled_difference([g.gain for g in known], [g.error for g in known])
