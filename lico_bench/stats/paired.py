"""Paired differences between arms: the same images, the same seeds, one objective apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lico_bench.checks import check_choice, check_positive
from lico_bench.errors import NotComparableError, UnknownNameError
from lico_bench.stats.bootstrap import RESAMPLES, Estimates, Floats, two_level
from lico_bench.stats.effect_size import standardised_effect
from lico_bench.stats.grid import Column, Grid, build_grids
from lico_bench.stats.mcnemar import are_hits, mcnemar_exact
from lico_bench.stats.means import describe
from lico_bench.stats.sign_flips import sign_flip_tests

PAIRED_COLUMNS = (
    "dataset", "source", "backbone", "labels", "arm", "reference_arm", "method", "metric",
    "protocol", "subset", "mean", "mean_reference", "difference", "low", "high", "interval",
    "seed_part", "image_part", "p_value", "p_images", "p_mcnemar", "effect_size",
    "smallest_effect", "p_equivalent", "interval_over", "num_images", "num_seeds", "num_skipped",
    "seeds", "per_seed", "note",
)  # fmt: skip
SUBSETS = ("all", "both_correct")


def paired_differences(
    scores: Any,
    *,
    interval: float = 0.95,
    reference_arm: str = "baseline",
    subset: Literal["all", "both_correct"] = "all",
    smallest_effects: Mapping[str, float] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """How much each arm differs from the reference arm on the same images, with intervals.

    Args:
        scores: rows (`records.ROW_COLUMNS`) or anything with `to_frame()` or `rows()`.
        interval: nominal coverage.
        reference_arm: what is subtracted.
        subset: `both_correct` keeps the images that both models of a pair classify correctly.
        smallest_effects: of interest, by metric, in its unit and > 0; a difference can be called
            equivalent only where one is declared. Metrics without rows are passed over.
        resamples: draws of the two-level bootstrap (see `stats.bootstrap`) and of the sign flips
            (see `stats.sign_flips`).
        seed: of the draws; equal rows give equal intervals and p-values.

    Returns:
        Columns `PAIRED_COLUMNS`, one row per dataset, arm, method and metric. `difference` is arm
        minus reference, both means are over the same images, `per_seed` holds the difference of
        each of `seeds`, `seed_part` and `image_part` are the standard errors of the two levels.
        `p_value` asks whether new trainings on new images would differ, `p_images` whether these
        trainings would on new images, `p_mcnemar` the same exactly and for hits alone (NaN for
        other metrics), `p_equivalent` whether the difference could be as large as
        `smallest_effect` (NaN without one). All are two-sided and of one metric: adjust those that
        are shown together with `holm`. `effect_size` is `difference` in standard deviations of the
        images. With one seed interval and `p_value` cover the images alone and `interval_over`
        says so. An image skipped in one arm is left out of both and counted in `num_skipped`;
        `note` is a sentence where a number is missing. Empty if there is one arm only.

    Raises:
        InvalidInputError: for rows that cannot be scores: duplicates, NaN without a flag, no rows.
        NotComparableError: for images that only one arm was scored on, a seed that lacks an arm,
            or two protocols under one metric.
        UnknownNameError: for a reference arm that is not among several.
    """
    check_choice("subset", subset, SUBSETS)
    smallest = dict(smallest_effects or {})
    for metric, effect in smallest.items():
        check_positive(f"smallest effect of {metric}", effect)
    draws = _Draws(interval, resamples, seed)
    records: list[dict[str, Any]] = []
    for grid in build_grids(scores):
        if len(grid.arms) == 1:
            continue
        if reference_arm not in grid.arms:
            raise UnknownNameError.of("arm", reference_arm, grid.arms)
        for records_of_arm in _compare(grid, reference_arm, subset, smallest, draws):
            records += records_of_arm
    return pd.DataFrame(records, columns=list(PAIRED_COLUMNS))


class _Draws(NamedTuple):
    interval: float
    resamples: int
    seed: int


def _compare(
    grid: Grid, reference_arm: str, subset: str, smallest: dict[str, float], draws: _Draws
) -> Iterator[list[dict[str, Any]]]:
    """The records of each arm against the reference; one bootstrap serves them all."""
    first = grid.arms.index(reference_arm)
    others = [number for number in range(len(grid.arms)) if number != first]
    for other in others:
        _check_paired(grid, first, other)
    pairs = [_both(grid, first, other, subset) for other in others]
    stacked = np.concatenate([theirs - ours for ours, theirs in pairs], axis=2)
    found = two_level(stacked, **draws._asdict())
    margins = [smallest.get(column.metric, np.nan) for column in grid.columns]
    hits = np.concatenate([are_hits(ours, theirs) for ours, theirs in pairs])
    tests = _tests(stacked, found, hits, np.tile(margins, len(others)), draws)
    width = len(grid.columns)
    for number, (other, (ours, theirs)) in enumerate(zip(others, pairs, strict=True)):
        means, references = _means(theirs), _means(ours)
        mcnemar = mcnemar_exact(ours, theirs)
        yield [
            {
                **grid.setting,
                "arm": grid.arms[other],
                "reference_arm": reference_arm,
                **column._asdict(),
                "subset": subset,
                "mean": means[c],
                "mean_reference": references[c],
                "difference": found.mean[number * width + c],
                "interval": draws.interval,
                **{name: values[number * width + c] for name, values in tests.items()},
                "p_mcnemar": mcnemar[c],
                **describe(found, number * width + c, grid.seeds),
                "num_skipped": _num_skipped(grid, first, other, c),
            }
            for c, column in enumerate(grid.columns)
            if grid.present[other, :, :, c].any()
        ]


def _tests(
    differences: Floats,
    found: Estimates,
    hits: NDArray[np.bool_],
    margins: Floats,
    draws: _Draws,
) -> dict[str, Floats]:
    """The columns of the tests, each (C,)."""
    flips = sign_flip_tests(
        differences,
        seed_part=found.seed_part,
        smallest_effects=margins,
        hits=hits,
        resamples=draws.resamples,
        seed=draws.seed,
    )
    return {
        **asdict(flips),
        "effect_size": standardised_effect(differences),
        "smallest_effect": margins,
    }


def _both(grid: Grid, first: int, other: int, subset: str) -> tuple[Floats, Floats]:
    """Values (S, I, C) of the reference and of the arm, NaN unless both are there."""
    ours, theirs = grid.values[first], grid.values[other]
    usable = np.isfinite(ours) & np.isfinite(theirs)
    if subset == "both_correct":
        usable &= (grid.correct[first] & grid.correct[other])[:, :, None]
    return np.where(usable, ours, np.nan), np.where(usable, theirs, np.nan)


def _means(values: Floats) -> Floats:
    """Mean over seeds of the means over images, (C,)."""
    present = np.isfinite(values)
    counts = present.sum(1)
    sums = np.where(present, values, 0.0).sum(1)
    per_seed = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    num_seeds = (counts > 0).sum(0)
    means: Floats = np.full(len(num_seeds), np.nan)
    np.divide(per_seed.sum(0), num_seeds, out=means, where=num_seeds > 0)
    return means


def _num_skipped(grid: Grid, first: int, other: int, column: int) -> int:
    usable = np.isfinite(grid.values[[first, other], :, :, column]).all(0)
    return int((grid.present[first, :, :, column] & ~usable).sum())


def _check_paired(grid: Grid, first: int, other: int) -> None:
    """Raise unless both arms were scored on the same images, by the same rules, at each seed."""
    unpaired = grid.present[first] != grid.present[other]
    if not unpaired.any():
        return
    names = f"{grid.arms[first]} and {grid.arms[other]}"
    where = f"{grid.setting['dataset']} ({grid.setting['source']})"
    for s, seed in enumerate(grid.seeds):
        for number in (first, other):
            if not grid.present[number, s].any():
                raise NotComparableError(
                    f"{where}: expected {names} at every seed, but {grid.arms[number]} has no rows "
                    f"at seed {seed}; finish the run, or leave that seed out"
                )
    raise NotComparableError(_unpaired_sentence(grid, unpaired, where, names))


def _unpaired_sentence(grid: Grid, unpaired: NDArray[np.bool_], where: str, names: str) -> str:
    seed, image, number = (int(k) for k in np.argwhere(unpaired)[0])
    column: Column = grid.columns[number]
    what = f"{column.metric} of {column.method or 'the model'}"
    rules = f" under protocol '{column.protocol}'" if column.protocol else ""
    count = int(unpaired[:, :, number].sum())
    message = "1 image has" if count == 1 else f"{count} images have"
    return (
        f"{where}: expected {names} on the same images, but {message} {what}{rules} in one arm only "
        f"(first: '{grid.image_ids[image]}' at seed "
        f"{grid.seeds[seed]}); score both arms alike"
    )
