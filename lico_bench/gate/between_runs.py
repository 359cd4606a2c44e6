"""Is B worse than A, image by image? Two runs, or two arms of one run or of two.

Scores are paired by image at each (dataset, backbone, labels, seed), so what makes an image hard
for both cancels. Bounds are those of the two-level bootstrap (`stats.bootstrap`), p-values those of
`stats.paired_differences`; how a loss is judged stands in `gate.judgement`. Bounds of hits hold two
images more, one won and one lost. With one seed nothing is known of other trainings, and a note
says so.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from lico_bench.checks import check_positive
from lico_bench.claims import read_claims
from lico_bench.errors import InvalidInputError
from lico_bench.gate.against_reference import check_confidence
from lico_bench.gate.judgement import Judgement, Loss, Verdict, settle, worst
from lico_bench.gate.pairing import FIRST, SCORE, Score, pair_rows
from lico_bench.gate.reference import FEW, facts_of, with_parts
from lico_bench.gate.selection import ALL, Selection
from lico_bench.gate.side import Side, pair_arms
from lico_bench.gate.uncertainty import SMALLEST_MARGIN, default_margin
from lico_bench.stats import arm_means, paired_differences

Found = tuple[Judgement, Loss | None]

SEEDS_NOT_COVERED = (
    "one seed: this is about these two trainings; what other trainings would give is not covered"
)


def compare(
    first: Side,
    second: Side,
    *,
    margin: float | None = None,
    confidence: float = 0.95,
    is_shared: bool = False,
    only: Selection = ALL,
) -> Verdict:
    """Judge each score that `first` has: is it worse in `second` by more than the margin?

    Args:
        first, second: what was before and what is now.
        margin: how much worse a mean may be. None: the smallest effect that `baselines/claims.toml`
            declares for the metric; else 0.02 for one that is bounded, and for any other what a
            reference of `first` would allow.
        confidence: of each one-sided bound, in (0.5, 1).
        is_shared: compare on the seeds and images that both have, where they differ.
        only: metrics and methods that are judged.

    Returns:
        The verdict. A score that `second` lacks, or that has another protocol, data source, seeds
        or images there, is `not_comparable` and says why. Descriptive metrics and control methods
        are left out.

    Raises:
        InvalidInputError: for arms that nothing puts together, or nothing to judge.
        UnknownNameError: for a metric or method in `only` that `first` lacks.
    """
    check_confidence(confidence)
    if margin is not None:
        check_positive("margin", margin)
    only.check_known(first.rows, first.name)
    found: list[Found] = []
    num_more = 0
    for ours, theirs in pair_arms(first, second):
        rows, other = _judged(first, ours, only), _judged(second, theirs, only)
        if not rows.empty:
            paired = pair_rows(first, second, rows, other, is_shared=is_shared)
            num_more += paired.num_more
            differences = _differences(paired.rows, confidence)
            for score, known in _known(rows, first, margin).items():
                known["arm"] = ours if ours == theirs else f"{ours} to {theirs}"
                found.append(
                    _open(known, differences.get(score), paired.missing_parts.get(score, ""))
                )
    if not found:
        raise InvalidInputError(
            f"compare: expected a score with a better and a worse in {first.name}, got none; "
            "name other metrics or methods"
        )
    judgements = settle(found, other=first.name, names_better=True)
    notes = (SEEDS_NOT_COVERED,) if any(one.num_seeds == 1 for one in judgements) else ()
    title = f"compare {first.name} {second.name}"
    return Verdict(worst(judgements), judgements, num_more, notes, title)


def _judged(side: Side, arm: str, only: Selection) -> pd.DataFrame:
    """Rows of an arm that have a better and a worse and were asked for."""
    rows = side.of_arm(arm)
    kinds = rows[["metric", "method"]].drop_duplicates()
    kept = [
        (metric, method)
        for metric, method in zip(kinds["metric"], kinds["method"], strict=True)
        if only.takes(metric, method) and side.facts.may_judge(metric, method)
    ]
    return rows.merge(pd.DataFrame(kept, columns=["metric", "method"], dtype=object))


def _known(rows: pd.DataFrame, side: Side, margin: float | None) -> dict[Score, dict[str, Any]]:
    """What the first side says of each score, and how much worse it may be."""
    smallest: dict[str, float] = {}
    for claim in read_claims() if margin is None else ():
        least = smallest.get(claim.metric, math.inf)
        smallest[claim.metric] = min(least, claim.smallest_effect)
    found = {}
    for _, row in with_parts(arm_means(rows, resamples=FEW)).iterrows():
        score = tuple(str(row[name]) for name in SCORE)
        metric = str(row["metric"])
        allowed = margin or smallest.get(metric) or _usual_margin(row, side, metric)
        found[score] = {
            **dict(zip(SCORE, score, strict=True)),
            **side.facts.words(metric),
            "higher_is_better": side.facts.direction(metric),
            "source": str(row["source"]),
            "reference": float(row["mean"]) if row["num_images"] else None,
            "margin": allowed,
            "num_images": int(row["num_images"]),
            "num_reference_seeds": int(row["num_seeds"]),
        }
    return found


def _usual_margin(row: pd.Series[Any], side: Side, metric: str) -> float:
    """0.02 of a metric whose range is known; of any other, what a reference would allow."""
    bounds = side.facts.metrics[metric].get("bounds") or (None, None)
    if None in bounds and row["num_images"] > 1:
        return default_margin(facts_of(row))
    return SMALLEST_MARGIN


def _differences(rows: pd.DataFrame, confidence: float) -> dict[Score, pd.Series[Any]]:
    """The paired differences, second minus first, with bounds of `confidence` on each side."""
    if rows.empty:
        return {}
    table = paired_differences(rows, interval=2 * confidence - 1, reference_arm=FIRST)
    return {tuple(str(row[name]) for name in SCORE): row for _, row in table.iterrows()}


def _open(known: dict[str, Any], row: pd.Series[Any] | None, missing: str) -> Found:
    """What is known of a score before the family is settled."""
    if row is None or not row["num_images"]:
        sentence = missing or "no image has a value on both sides; score other images"
        return Judgement(**known, outcome="not_comparable", sentence=sentence), None
    # Means over the images that have a value on both sides.
    known |= {"reference": float(row["mean_reference"]), "mean": float(row["mean"])}
    known |= {"num_images": int(row["num_images"]), "num_seeds": int(row["num_seeds"])}
    known["num_reference_seeds"] = known["num_seeds"]
    if row["num_images"] == 1:
        sentence = f"{row['note']}; score more images"
        return Judgement(**known, outcome="inconclusive", sentence=sentence), None
    sign = -1 if known["higher_is_better"] else 1
    size = sign * float(row["difference"])
    ends = sorted(sign * float(row[end]) - size for end in ("low", "high"))
    least = _least_reach(row)
    low, high = size - math.hypot(ends[0], least), size + math.hypot(ends[1], least)
    p_value = float(row["p_value"]) / 2
    loss = Loss(size, low, high, p_value if size > 0 else 1 - p_value)
    return Judgement(**known, outcome="inconclusive", sentence=""), loss


def _least_reach(row: pd.Series[Any]) -> float:
    """What one more image won and one more lost would add to a bound of hits; 0 for the rest.

    Where few images differ their spread is a poor guess, and where none does there is none: yet
    100 images without a lost one do not show that less than 2 % are lost.

    Source: Agresti and Min, Statistics in Medicine 2005.
    """
    if not math.isfinite(row["p_mcnemar"]):
        return 0.0
    count = int(row["num_images"])
    one_sided = (1 + float(row["interval"])) / 2
    return float(stdtrit(count - 1, one_sided)) * math.sqrt(2) / (count + 2)
