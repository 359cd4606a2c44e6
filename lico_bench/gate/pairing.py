"""Rows of two sides put together image by image, and why some cannot be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lico_bench.gate.side import Side
from lico_bench.stats import Grid, build_grids

SCORE = ("dataset", "backbone", "labels", "method", "metric")
_PLACE = (*SCORE, "seed", "image_id")
FIRST, SECOND = "first", "second"  # the arms, whatever their names, while they are compared

Score = tuple[str, ...]


@dataclass(frozen=True)
class Paired:
    """What can be compared, and what cannot.

    Attributes:
        rows: of the arms `FIRST` and `SECOND`, on the same seeds and images.
        obstacles: why a score of the first side has no rows here.
        num_more: scores of the second side that the first lacks.
    """

    rows: pd.DataFrame
    missing_parts: dict[Score, str]
    num_more: int


def pair_rows(
    first: Side, second: Side, ours: pd.DataFrame, theirs: pd.DataFrame, *, is_shared: bool
) -> Paired:
    """Put rows of one arm of each side together.

    Args:
        first, second: where they come from.
        ours, theirs: the rows.
        is_shared: keep the seeds and images that both have, in place of an obstacle.

    Raises:
        InvalidInputError: for two rows of the same score.
    """
    rules = [_rules(rows) for rows in (ours, theirs)]
    missing_parts = {
        score: sentence
        for score, found in rules[0].items()
        if (sentence := _differing(score, found, rules[1].get(score), first, second, is_shared))
    }
    wanted = set(rules[0]) - set(missing_parts)
    ours, theirs = (_with(rows, wanted) for rows in (ours, theirs))
    if is_shared:
        places = ours[list(_PLACE)].merge(theirs[list(_PLACE)])
        lost = wanted - set(_scores(places.drop_duplicates(list(SCORE))))
        missing_parts |= {score: f"{_what(score)}: no seed and image in common" for score in lost}
        ours, theirs = ours.merge(places), theirs.merge(places)
    both = pd.concat([ours.assign(arm=FIRST), theirs.assign(arm=SECOND)], ignore_index=True)
    # The pairs of two runs have two names; what makes a pair here is the seed.
    both["pair"] = both["seed"].astype(str)
    if not both.empty:
        missing_parts |= _unpaired(both, first, second)
    return Paired(
        _with(both, wanted - set(missing_parts)), missing_parts, len(set(rules[1]) - set(rules[0]))
    )


def _rules(rows: pd.DataFrame) -> dict[Score, tuple[str, str]]:
    """Protocol and data source of each score, in order of first appearance."""
    kinds = rows.drop_duplicates([*SCORE, "protocol", "source"])
    return {
        score: (str(protocol), str(source))
        for score, protocol, source in zip(
            _scores(kinds), kinds["protocol"], kinds["source"], strict=True
        )
    }


def _differing(
    score: Score,
    ours: tuple[str, str],
    theirs: tuple[str, str] | None,
    first: Side,
    second: Side,
    is_shared: bool,
) -> str:
    """Why the two cannot be compared whatever their images are, or nothing."""
    dataset, backbone, labels, _, metric = score
    if theirs is None:
        return (
            f"{second.name} has no {_what(score)} for {dataset} ({backbone}, labels {labels}); "
            "score both alike, or leave it out with --metrics and --methods"
        )
    for name, one, other in zip(("protocol", "source"), ours, theirs, strict=True):
        if one != other:
            return (
                f"{_what(score)}: {name} '{one}' in {first.name}, '{other}' in {second.name}; "
                f"two {name}s never compare, score both alike"
            )
    if first.facts.direction(metric) != second.facts.metrics.get(metric, {}).get(
        "higher_is_better", first.facts.direction(metric)
    ):
        return f"{_what(score)}: the two runs do not agree on whether higher is better"
    prints = first.image_fingerprints.get(dataset), second.image_fingerprints.get(dataset)
    if not is_shared and None not in prints and prints[0] != prints[1]:
        return (
            f"{dataset}: {first.name} and {second.name} saw different data ({prints[0]}, "
            f"{prints[1]}); score both on the same, or compare what both have with --shared"
        )
    return ""


def _unpaired(both: pd.DataFrame, first: Side, second: Side) -> dict[Score, str]:
    """Scores whose seeds or images are not the same on both sides."""
    found: dict[Score, str] = {}
    for grid in build_grids(both):
        setting = tuple(grid.setting[name] for name in ("dataset", "backbone", "labels"))
        for number, column in enumerate(grid.columns):
            ours, theirs = (_present(grid, arm, number) for arm in (FIRST, SECOND))
            if (ours != theirs).any():
                score = (*setting, column.method, column.metric)
                found[score] = f"{_what(score)}: {_counts(grid, ours, theirs, first, second)}"
    return found


def _present(grid: Grid, arm: str, column: int) -> NDArray[np.bool_]:
    """(S, I), where the arm has a row."""
    return grid.present[grid.arms.index(arm), :, :, column]


def _counts(
    grid: Grid, ours: NDArray[np.bool_], theirs: NDArray[np.bool_], first: Side, second: Side
) -> str:
    message = []
    for what, axis, names in (("seeds", 1, grid.seeds), ("images", 0, grid.image_ids)):
        has = [side.any(axis) for side in (ours, theirs)]
        if (has[0] != has[1]).any():
            lone = [int((has[k] & ~has[1 - k]).sum()) for k in (0, 1)]
            place = int((has[0] != has[1]).argmax())
            message.append(
                f"{int((has[0] & has[1]).sum())} {what} in both, {lone[0]} in {first.name} alone, "
                f"{lone[1]} in {second.name} alone (first: '{names[place]}')"
            )
    if not message:
        message = [
            f"{int((ours != theirs).sum())} images have a score at some seeds on one side only"
        ]
    return f"{'; '.join(message)}; score both alike, or compare what both have with --shared"


def _with(rows: pd.DataFrame, wanted: set[Score]) -> pd.DataFrame:
    """The rows of these scores; rows may be millions, scores are hundreds."""
    numbers = rows.groupby(list(SCORE), sort=False, observed=True).ngroup().to_numpy()
    kinds = _scores(rows.drop_duplicates(list(SCORE)))
    return rows[np.array([score in wanted for score in kinds], dtype=bool)[numbers]]


def _scores(rows: pd.DataFrame) -> list[Score]:
    return list(zip(*(rows[name].astype(str) for name in SCORE), strict=True))


def _what(score: Score) -> str:
    return f"{score[4]} of {score[3] or 'the model'}"
