"""Test whether B is worse than A, paired by image; A and B are runs or arms of runs.

Scores are paired by image within each (dataset, backbone, labels, seed), so the difficulty of an
image cancels. Bounds come from the two-level bootstrap (`stats.bootstrap`), p-values from
`stats.paired_differences`; `gate.judgement` decides. Bounds of binary scores (hits) are widened by
one won and one lost image. With one seed, the verdict has a note that the variation between
trainings is not covered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from lico_bench.checks import check_positive
from lico_bench.claims import read_claims
from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.gate.judgement import (
    SMALLEST_MARGIN,
    Judgement,
    Loss,
    Verdict,
    check_confidence,
    decide,
    default_margin,
    worst,
)
from lico_bench.gate.reference import ScoreMean, rows_as, score_means
from lico_bench.gate.side import ALL, Selection, Side
from lico_bench.stats import Grid, build_grids, paired_differences

SEEDS_NOT_COVERED = (
    "one seed: the verdict is about these two trainings; the variation between trainings is not "
    "covered"
)
SCORE = ("dataset", "backbone", "labels", "method", "metric")
FIRST, SECOND = "first", "second"  # arm names of the two sides while they are compared

Score = tuple[str, ...]  # the values of `SCORE`
Undecided = tuple[Judgement, Loss | None]


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
        ours, theirs = _judged(first, first_arm, only), _judged(second, second_arm, only)
        if not ours.rows.empty:
            margins = _declared_margins(ours, margin)
            undecided += _undecided_judgements(ours, theirs, margins, confidence, is_shared)
            in_ours, in_theirs = (set(_protocols_and_sources(side)) for side in (ours, theirs))
            num_unmatched += len(in_theirs - in_ours)
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


def pair_arms(first: Side, second: Side) -> list[tuple[str, str]]:
    """Return the pairs of arms to compare: the named arms, else the arms of the same name.

    Raises:
        InvalidInputError: if no arm is named and no names match.
    """
    if first.arm or second.arm:
        first_arm = first.arm or _counterpart(first, str(second.arm))
        second_arm = second.arm or _counterpart(second, str(first.arm))
        return [(first_arm, second_arm)]
    shared = [(arm, arm) for arm in first.arms if arm in second.arms]
    if shared:
        return shared
    if len(first.arms) == len(second.arms) == 1:
        return [(first.arms[0], second.arms[0])]
    raise InvalidInputError(
        f"compare: expected arms of the same name, got {', '.join(first.arms)} in {first.name} and "
        f"{', '.join(second.arms)} in {second.name}; choose them with RUN:ARM"
    )


def _counterpart(side: Side, arm: str) -> str:
    if arm in side.arms:
        return arm
    if len(side.arms) == 1:
        return side.arms[0]
    raise UnknownNameError.of(f"arm in {side.name}", arm, side.arms)


def _judged(side: Side, arm: str, only: Selection) -> Side:
    """Return the side with the selected rows of an arm that are judged."""
    is_judged = (side.rows["arm"] == arm) & only.mask(side.rows) & side.is_judged(side.rows)
    return replace(side, rows=side.rows[is_judged], arm=arm)


def _declared_margins(side: Side, margin: float | None) -> dict[str, float]:
    """Return `margin` for each metric, else the smallest effect of those that claims declare."""
    if margin is not None:
        return dict.fromkeys(map(str, side.rows["metric"].unique()), margin)
    margins: dict[str, float] = {}
    for claim in read_claims():
        margins[claim.metric] = min(claim.smallest_effect, margins.get(claim.metric, math.inf))
    return margins


def _undecided_judgements(
    first: Side, second: Side, margins: Mapping[str, float], confidence: float, is_shared: bool
) -> Iterator[Undecided]:
    """Yield the judgements of an arm's scores before the correction for multiple tests."""
    rows, incomparable = _pair_rows(first, second, is_shared=is_shared)
    differences = _differences(rows, confidence)
    for mean in rows_as(ScoreMean, score_means(first.rows)):
        score = tuple(getattr(mean, name) for name in SCORE)
        spec = first.spec(mean.metric)
        fallback = SMALLEST_MARGIN
        if None in spec.bounds and mean.num_images > 1:
            fallback = default_margin(mean)
        expected = Judgement.of(
            mean,
            spec,
            margin=margins.get(mean.metric, fallback),
            higher_is_better=first.direction(mean.metric),
            sentence=incomparable.get(score, ""),
        )
        expected = replace(
            expected,
            arm=mean.arm if first.arm == second.arm else f"{first.arm} to {second.arm}",
            reference=mean.mean if mean.num_images else None,
            num_images=mean.num_images,
            num_reference_seeds=mean.num_seeds,
        )
        yield _undecided_judgement(expected, differences.get(score))


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
    return judgement, Loss(size, low, high, p_value if size > 0 else 1 - p_value)


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


def _pair_rows(
    first: Side, second: Side, *, is_shared: bool
) -> tuple[pd.DataFrame, dict[Score, str]]:
    """Pair the rows of one arm of each side.

    Args:
        is_shared: use only the seeds and images that both sides have.

    Returns:
        Rows of the arms `FIRST` and `SECOND` on the same seeds and images, and the reason for each
        score of the first side without rows there.

    Raises:
        InvalidInputError: for duplicate rows.
    """
    incomparable = dict(_metadata_differences(first, second, is_shared=is_shared))
    comparable = set(_protocols_and_sources(first)) - set(incomparable)
    rows = [_select_scores(side.rows, comparable) for side in (first, second)]
    if is_shared:
        pair_key = [*SCORE, "seed", "image_id"]
        keys = rows[0][pair_key].merge(rows[1][pair_key])
        incomparable |= {
            score: f"{_score_text(score)}: no seed and image in common; score both on the same "
            "images and seeds"
            for score in comparable - set(_scores(keys.drop_duplicates(list(SCORE))))
        }
        rows = [side_rows.merge(keys) for side_rows in rows]
    both = pd.concat([rows[0].assign(arm=FIRST), rows[1].assign(arm=SECOND)], ignore_index=True)
    # Pair names differ between runs, so the seed identifies a pair here.
    both["pair"] = both["seed"].astype(str)
    if not both.empty:
        incomparable |= _row_differences(both, first.name, second.name)
    return _select_scores(both, comparable - set(incomparable)), incomparable


def _protocols_and_sources(side: Side) -> dict[Score, tuple[str, str]]:
    """Return protocol and data source of each score, in order of first appearance."""
    distinct = side.rows.drop_duplicates([*SCORE, "protocol", "source"])
    facts = zip(distinct["protocol"].astype(str), distinct["source"].astype(str), strict=True)
    return dict(zip(_scores(distinct), facts, strict=True))


def _metadata_differences(
    first: Side, second: Side, *, is_shared: bool
) -> Iterator[tuple[Score, str]]:
    """Yield the scores that cannot be compared whatever their rows are, with the reasons."""
    in_second = _protocols_and_sources(second)
    for score, ours in _protocols_and_sources(first).items():
        dataset, backbone, labels, _, metric = score
        theirs = in_second.get(score, ours)
        facts = zip(("protocol", "source"), ours, theirs, strict=True)
        differing = [fact for fact in facts if fact[1] != fact[2]]
        spec = second.metrics.get(metric)
        fingerprints = [side.image_fingerprints.get(dataset) for side in (first, second)]
        if score not in in_second:
            reason = (
                f"{second.name} has no {_score_text(score)} for {dataset} ({backbone}, labels "
                f"{labels}); score both alike, or exclude it with --metrics and --methods"
            )
        elif differing:
            name, our_value, their_value = differing[0]
            reason = (
                f"{_score_text(score)}: {name} '{our_value}' in {first.name}, '{their_value}' "
                f"in {second.name}; {name}s cannot be mixed, score both alike"
            )
        elif spec is not None and spec.higher_is_better != first.direction(metric):
            reason = (
                f"{_score_text(score)}: the direction of the metric differs between {first.name} "
                f"and {second.name}; score both with the same version of the metric"
            )
        elif not is_shared and None not in fingerprints and fingerprints[0] != fingerprints[1]:
            reason = (
                f"{dataset}: {first.name} and {second.name} used different data "
                f"({fingerprints[0]}, {fingerprints[1]}); score both on the same data, or use "
                "--shared"
            )
        else:
            continue
        yield score, reason


def _row_differences(both: pd.DataFrame, first: str, second: str) -> dict[Score, str]:
    """Return the scores whose seeds or images differ between the sides, with the differences."""
    differences: dict[Score, str] = {}
    for grid in build_grids(both):
        setting = tuple(grid.setting[name] for name in ("dataset", "backbone", "labels"))
        present = [grid.present[grid.arms.index(arm)] for arm in (FIRST, SECOND)]
        differing = (present[0] != present[1]).any((0, 1))
        for number in np.flatnonzero(differing):
            score = (*setting, grid.columns[number].method, grid.columns[number].metric)
            masks = [mask[:, :, number] for mask in present]
            text = _describe_difference(grid, masks, first, second)
            differences[score] = f"{_score_text(score)}: {text}; score both alike, or use --shared"
    return differences


def _describe_difference(
    grid: Grid, masks: list[NDArray[np.bool_]], first: str, second: str
) -> str:
    """Return the numbers of seeds and images that one side lacks; masks have shape (S, I)."""
    parts = []
    for kind, axis, names in (("seeds", 1, grid.seeds), ("images", 0, grid.image_ids)):
        ours, theirs = (mask.any(axis) for mask in masks)
        if (ours != theirs).any():
            parts.append(
                f"{(ours & theirs).sum()} {kind} in both, {(ours & ~theirs).sum()} only in "
                f"{first}, {(theirs & ~ours).sum()} only in {second} "
                f"(first: '{names[int((ours != theirs).argmax())]}')"
            )
    count = (masks[0] != masks[1]).sum()
    return "; ".join(parts) or f"{count} images have a score at some seeds on one side only"


def _select_scores(rows: pd.DataFrame, selected: set[Score]) -> pd.DataFrame:
    """Return the rows of these scores; fast for millions of rows of a few hundred scores."""
    numbers = rows.groupby(list(SCORE), sort=False, observed=True).ngroup().to_numpy()
    scores = _scores(rows.drop_duplicates(list(SCORE)))
    return rows[np.array([score in selected for score in scores], dtype=bool)[numbers]]


def _scores(rows: pd.DataFrame) -> list[Score]:
    return list(zip(*(rows[name].astype(str) for name in SCORE), strict=True))


def _score_text(score: Score) -> str:
    return f"{score[4]} of {score[3] or 'the model'}"
