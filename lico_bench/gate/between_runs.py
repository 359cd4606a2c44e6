"""Test whether B is worse than A, paired by image; A and B are runs or arms of runs.

Scores are paired by image within each (dataset, backbone, labels, seed), so the difficulty of an
image cancels. Bounds come from the two-level bootstrap (`stats.bootstrap`), p-values from
`stats.paired_differences`; `gate.judgement` decides. Bounds of binary scores (hits) are widened by
one won and one lost image. With one seed, the verdict has a note that the variation between
trainings is not covered.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from lico_bench.checks import check_positive
from lico_bench.claims import read_claims
from lico_bench.errors import InvalidInputError
from lico_bench.gate.against_reference import check_confidence
from lico_bench.gate.judgement import Judgement, Loss, Verdict, decide, worst
from lico_bench.gate.pairing import FIRST, SCORE, Score, pair_rows
from lico_bench.gate.reference import NUM_RESAMPLES, ScoreMean, rows_as, with_error_parts
from lico_bench.gate.selection import ALL, Selection
from lico_bench.gate.side import Side, pair_arms
from lico_bench.gate.uncertainty import SMALLEST_MARGIN, default_margin
from lico_bench.stats import arm_means, paired_differences

Undecided = tuple[Judgement, Loss | None]

SEEDS_NOT_COVERED = (
    "one seed: the verdict is about these two trainings; the variation between trainings is not "
    "covered"
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
    """Judge each score of `first`: is it worse in `second` by more than the margin?

    Args:
        first, second: the baseline and the side compared with it.
        margin: largest allowed loss of a mean. None: the smallest effect that
            `baselines/claims.toml` declares for the metric; without one, 0.02 for a bounded metric
            and the default margin of a reference of `first` for any other.
        confidence: of each one-sided bound, in (0.5, 1).
        is_shared: use only the seeds and images that both sides have.
        only: metrics and methods to judge.

    Returns:
        The verdict. A score that `second` lacks, or that has another protocol, data source, seeds
        or images there, is `not_comparable`; its sentence gives the reason. Descriptive metrics
        and control methods are omitted.

    Raises:
        InvalidInputError: if the arms cannot be matched or there is no score to judge.
        UnknownNameError: for a metric or method in `only` that `first` lacks.
    """
    check_confidence(confidence)
    if margin is not None:
        check_positive("margin", margin)
    only.check_known(first.rows, first.name)
    undecided: list[Undecided] = []
    num_unmatched = 0
    for first_arm, second_arm in pair_arms(first, second):
        first_rows = _judged_rows(first, first_arm, only)
        second_rows = _judged_rows(second, second_arm, only)
        if not first_rows.empty:
            paired = pair_rows(first, second, first_rows, second_rows, is_shared=is_shared)
            num_unmatched += paired.num_unmatched
            differences = _differences(paired.rows, confidence)
            arm = first_arm if first_arm == second_arm else f"{first_arm} to {second_arm}"
            for score, expected in _expected_judgements(first_rows, first, margin).items():
                reason = paired.incomparable.get(score, "")
                judgement = replace(expected, arm=arm, sentence=reason)
                undecided.append(_undecided_judgement(judgement, differences.get(score)))
    if not undecided:
        raise InvalidInputError(
            f"compare: expected a score with a direction in {first.name}, got none; "
            "name other metrics or methods"
        )
    judgements = decide(undecided, other=first.name, names_better=True)
    has_one_seed = any(judgement.num_seeds == 1 for judgement in judgements)
    notes = (SEEDS_NOT_COVERED,) if has_one_seed else ()
    title = f"compare {first.name} {second.name}"
    return Verdict(worst(judgements), judgements, num_unmatched, notes, title)


def _judged_rows(side: Side, arm: str, only: Selection) -> pd.DataFrame:
    """Return the selected rows of an arm, without descriptive metrics and control methods."""
    rows = side.of_arm(arm)
    pairs = rows[["metric", "method"]].drop_duplicates()
    kept = [
        (metric, method)
        for metric, method in zip(pairs["metric"], pairs["method"], strict=True)
        if only.includes(metric, method) and side.facts.may_be_judged(metric, method)
    ]
    return rows.merge(pd.DataFrame(kept, columns=["metric", "method"], dtype=object))


def _expected_judgements(
    rows: pd.DataFrame, side: Side, margin: float | None
) -> dict[Score, Judgement]:
    """Return a judgement of each score as far as the first side determines it."""
    smallest: dict[str, float] = {}
    for claim in read_claims() if margin is None else ():
        effect = smallest.get(claim.metric, math.inf)
        smallest[claim.metric] = min(effect, claim.smallest_effect)
    judgements = {}
    means = with_error_parts(arm_means(rows, resamples=NUM_RESAMPLES))
    for mean in rows_as(ScoreMean, means):
        score = tuple(getattr(mean, name) for name in SCORE)
        spec = side.facts.spec(mean.metric)
        judgements[score] = Judgement(
            dataset=mean.dataset,
            backbone=mean.backbone,
            labels=mean.labels,
            arm=mean.arm,
            method=mean.method,
            metric=mean.metric,
            outcome="not_comparable",
            sentence="",
            reference=mean.mean if mean.num_images else None,
            margin=margin or smallest.get(mean.metric) or _fallback_margin(mean, side),
            source=mean.source,
            title=spec.title,
            unit=spec.unit,
            higher_is_better=side.facts.direction(mean.metric),
            num_images=mean.num_images,
            num_reference_seeds=mean.num_seeds,
        )
    return judgements


def _fallback_margin(mean: ScoreMean, side: Side) -> float:
    """Return 0.02 for a bounded metric, and a reference's default margin for any other."""
    if None in side.facts.spec(mean.metric).bounds and mean.num_images > 1:
        return default_margin(mean.facts)
    return SMALLEST_MARGIN


def _differences(rows: pd.DataFrame, confidence: float) -> dict[Score, pd.Series[Any]]:
    """Return the paired differences, second minus first, with one-sided bounds of `confidence`."""
    if rows.empty:
        return {}
    table = paired_differences(rows, interval=2 * confidence - 1, reference_arm=FIRST)
    return {tuple(str(row[name]) for name in SCORE): row for _, row in table.iterrows()}


def _undecided_judgement(expected: Judgement, row: pd.Series[Any] | None) -> Undecided:
    """Return a judgement before the correction for multiple tests, and its loss.

    Args:
        expected: its sentence is the reason if the score cannot be compared.
        row: of `paired_differences`; None without paired images.
    """
    if row is None or not row["num_images"]:
        sentence = expected.sentence or "no image has a value on both sides; score other images"
        return replace(expected, sentence=sentence), None
    # Means over the images that have a value on both sides.
    judgement = replace(
        expected,
        outcome="inconclusive",
        sentence="",
        reference=float(row["mean_reference"]),
        mean=float(row["mean"]),
        num_images=int(row["num_images"]),
        num_seeds=int(row["num_seeds"]),
        num_reference_seeds=int(row["num_seeds"]),
    )
    if judgement.num_images == 1:
        return replace(judgement, sentence=f"{row['note']}; score more images"), None
    sign = -1 if judgement.higher_is_better else 1
    size = sign * float(row["difference"])
    offsets = sorted(sign * float(row[end]) - size for end in ("low", "high"))
    extra = _min_half_width(row)
    low, high = size - math.hypot(offsets[0], extra), size + math.hypot(offsets[1], extra)
    p_value = float(row["p_value"]) / 2
    loss = Loss(size, low, high, p_value if size > 0 else 1 - p_value)
    return judgement, loss


def _min_half_width(row: pd.Series[Any]) -> float:
    """Return the half-width that one won and one lost image add to a bound of hits; else 0.

    If few images differ, their standard deviation is a poor estimate; if none differs, it is 0,
    although 100 images without a loss do not show that less than 2 % are lost.

    Source: Agresti and Min, Statistics in Medicine 2005.
    """
    if not math.isfinite(row["p_mcnemar"]):
        return 0.0
    count = int(row["num_images"])
    one_sided = (1 + float(row["interval"])) / 2
    return float(stdtrit(count - 1, one_sided)) * math.sqrt(2) / (count + 2)
