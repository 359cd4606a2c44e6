"""Pairing of two sides' rows by image, with the reasons why scores cannot be paired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lico_bench.gate.side import Side
from lico_bench.stats import Grid, build_grids

SCORE = ("dataset", "backbone", "labels", "method", "metric")
_PAIR_KEY = (*SCORE, "seed", "image_id")
FIRST, SECOND = "first", "second"  # arm names of the two sides while they are compared

Score = tuple[str, ...]


@dataclass(frozen=True)
class Paired:
    """Rows of both sides that can be compared, and the scores that cannot.

    Attributes:
        rows: rows of the arms `FIRST` and `SECOND`, on the same seeds and images.
        incomparable: reason for each score of the first side without rows here.
        num_unmatched: number of scores of the second side that the first side lacks.
    """

    rows: pd.DataFrame
    incomparable: dict[Score, str]
    num_unmatched: int


def pair_rows(
    first: Side,
    second: Side,
    first_rows: pd.DataFrame,
    second_rows: pd.DataFrame,
    *,
    is_shared: bool,
) -> Paired:
    """Pair the rows of one arm of each side.

    Args:
        first, second: the sides that the rows belong to.
        first_rows, second_rows: rows of one arm each.
        is_shared: use only the seeds and images that both sides have.

    Raises:
        InvalidInputError: for duplicate rows.
    """
    first_facts = _protocols_and_sources(first_rows)
    second_facts = _protocols_and_sources(second_rows)
    incomparable = {
        score: reason
        for score, facts in first_facts.items()
        if (
            reason := _metadata_difference(
                score, facts, second_facts.get(score), first, second, is_shared
            )
        )
    }
    comparable = set(first_facts) - set(incomparable)
    first_rows = _select_scores(first_rows, comparable)
    second_rows = _select_scores(second_rows, comparable)
    if is_shared:
        keys = first_rows[list(_PAIR_KEY)].merge(second_rows[list(_PAIR_KEY)])
        without_rows = comparable - set(_scores(keys.drop_duplicates(list(SCORE))))
        incomparable |= {
            score: f"{_score_text(score)}: no seed and image in common; score both on the same "
            "images and seeds"
            for score in without_rows
        }
        first_rows, second_rows = first_rows.merge(keys), second_rows.merge(keys)
    both = pd.concat(
        [first_rows.assign(arm=FIRST), second_rows.assign(arm=SECOND)], ignore_index=True
    )
    # Pair names differ between runs, so the seed identifies a pair here.
    both["pair"] = both["seed"].astype(str)
    if not both.empty:
        incomparable |= _row_differences(both, first, second)
    return Paired(
        rows=_select_scores(both, comparable - set(incomparable)),
        incomparable=incomparable,
        num_unmatched=len(set(second_facts) - set(first_facts)),
    )


def _protocols_and_sources(rows: pd.DataFrame) -> dict[Score, tuple[str, str]]:
    """Return protocol and data source of each score, in order of first appearance."""
    distinct = rows.drop_duplicates([*SCORE, "protocol", "source"])
    return {
        score: (str(protocol), str(source))
        for score, protocol, source in zip(
            _scores(distinct), distinct["protocol"], distinct["source"], strict=True
        )
    }


def _metadata_difference(
    score: Score,
    first_facts: tuple[str, str],
    second_facts: tuple[str, str] | None,
    first: Side,
    second: Side,
    is_shared: bool,
) -> str:
    """Return why a score cannot be compared for any choice of images, or an empty text.

    Args:
        first_facts, second_facts: protocol and data source; None if the score is missing.
    """
    dataset, backbone, labels, _, metric = score
    if second_facts is None:
        return (
            f"{second.name} has no {_score_text(score)} for {dataset} ({backbone}, labels "
            f"{labels}); score both alike, or exclude it with --metrics and --methods"
        )
    for name, first_value, second_value in zip(
        ("protocol", "source"), first_facts, second_facts, strict=True
    ):
        if first_value != second_value:
            return (
                f"{_score_text(score)}: {name} '{first_value}' in {first.name}, '{second_value}' "
                f"in {second.name}; {name}s cannot be mixed, score both alike"
            )
    theirs = second.facts.metrics.get(metric)
    if theirs is not None and theirs.higher_is_better != first.facts.direction(metric):
        return (
            f"{_score_text(score)}: the direction of the metric differs between {first.name} and "
            f"{second.name}; score both with the same version of the metric"
        )
    fingerprints = [side.image_fingerprints.get(dataset) for side in (first, second)]
    if not is_shared and None not in fingerprints and fingerprints[0] != fingerprints[1]:
        return (
            f"{dataset}: {first.name} and {second.name} used different data ({fingerprints[0]}, "
            f"{fingerprints[1]}); score both on the same data, or use --shared"
        )
    return ""


def _row_differences(both: pd.DataFrame, first: Side, second: Side) -> dict[Score, str]:
    """Return the scores whose seeds or images differ between the sides, with the differences."""
    differences: dict[Score, str] = {}
    for grid in build_grids(both):
        setting = tuple(grid.setting[name] for name in ("dataset", "backbone", "labels"))
        for number, column in enumerate(grid.columns):
            in_first, in_second = (_present(grid, arm, number) for arm in (FIRST, SECOND))
            if (in_first != in_second).any():
                score = (*setting, column.method, column.metric)
                text = _describe_difference(grid, in_first, in_second, first, second)
                differences[score] = f"{_score_text(score)}: {text}"
    return differences


def _present(grid: Grid, arm: str, column: int) -> NDArray[np.bool_]:
    """Return whether the arm has a row for each seed and image, (S, I)."""
    return grid.present[grid.arms.index(arm), :, :, column]


def _describe_difference(
    grid: Grid, in_first: NDArray[np.bool_], in_second: NDArray[np.bool_], first: Side, second: Side
) -> str:
    """Return the numbers of seeds and images that one side lacks; masks have shape (S, I)."""
    parts = []
    for kind, axis, names in (("seeds", 1, grid.seeds), ("images", 0, grid.image_ids)):
        has = [mask.any(axis) for mask in (in_first, in_second)]
        if (has[0] != has[1]).any():
            num_only = [int((has[k] & ~has[1 - k]).sum()) for k in (0, 1)]
            index = int((has[0] != has[1]).argmax())
            parts.append(
                f"{int((has[0] & has[1]).sum())} {kind} in both, {num_only[0]} only in "
                f"{first.name}, {num_only[1]} only in {second.name} (first: '{names[index]}')"
            )
    if not parts:
        count = int((in_first != in_second).sum())
        parts = [f"{count} images have a score at some seeds on one side only"]
    return f"{'; '.join(parts)}; score both alike, or use --shared"


def _select_scores(rows: pd.DataFrame, selected: set[Score]) -> pd.DataFrame:
    """Return the rows of these scores; fast for millions of rows of a few hundred scores."""
    numbers = rows.groupby(list(SCORE), sort=False, observed=True).ngroup().to_numpy()
    scores = _scores(rows.drop_duplicates(list(SCORE)))
    return rows[np.array([score in selected for score in scores], dtype=bool)[numbers]]


def _scores(rows: pd.DataFrame) -> list[Score]:
    return list(zip(*(rows[name].astype(str) for name in SCORE), strict=True))


def _score_text(score: Score) -> str:
    return f"{score[4]} of {score[3] or 'the model'}"
