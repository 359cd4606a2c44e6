"""Paired differences between arms on the same images and seeds."""

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
from lico_bench.stats.means import interval_fields
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
    """Return the difference of each arm from the reference arm, with intervals and tests.

    Args:
        scores: rows (`records.ROW_COLUMNS`) or an object with `to_frame()` or `rows()`.
        interval: nominal coverage.
        reference_arm: the arm whose scores are subtracted.
        subset: `both_correct` keeps the images that both models of a pair classify correctly.
        smallest_effects: smallest effect of interest by metric, > 0, in the unit of the metric;
            needed for equivalence tests. Metrics without rows are ignored.
        resamples: draws of the two-level bootstrap (see `stats.bootstrap`) and of the sign flips
            (see `stats.sign_flips`).
        seed: seed of the draws; equal rows give equal intervals and p-values.

    Returns:
        Columns `PAIRED_COLUMNS`, one row per dataset, arm, method and metric; empty for a single
        arm. `difference` is arm minus reference; both means are over the same images. `per_seed`
        holds the difference of each of `seeds`; `seed_part` and `image_part` are the standard
        errors of the two levels. `effect_size` is `difference` in standard deviations of the
        images.

        `p_value` tests for a difference under new trainings and new images, `p_images` under new
        images for these trainings, `p_mcnemar` the same exactly for hits (NaN for other metrics).
        `p_equivalent` tests for an effect as large as `smallest_effect` (NaN without one). The
        p-values are two-sided and not corrected for multiple tests; use `holm`.

        With one seed, interval and `p_value` cover the variation over images only, as given by
        `interval_over`. An image skipped in one arm is left out of both and counted in
        `num_skipped`. `note` explains a missing number.

    Raises:
        InvalidInputError: for duplicate rows, NaN without a flag, or no rows.
        NotComparableError: for an image that was scored in one arm only, a seed without one of the
            arms, or two protocols of one metric.
        UnknownNameError: if there are several arms and `reference_arm` is not one of them.
    """
    check_choice("subset", subset, SUBSETS)
    smallest = dict(smallest_effects or {})
    for metric, effect in smallest.items():
        check_positive(f"smallest effect of {metric}", effect)
    draws = _Draws(interval, resamples, seed)
    records: list[dict[str, object]] = []
    for grid in build_grids(scores):
        if len(grid.arms) == 1:
            continue
        if reference_arm not in grid.arms:
            raise UnknownNameError.of("arm", reference_arm, grid.arms)
        for arm_records in _compare(grid, reference_arm, subset, smallest, draws):
            records += arm_records
    return pd.DataFrame(records, columns=list(PAIRED_COLUMNS))


class _Draws(NamedTuple):
    interval: float
    resamples: int
    seed: int


def _compare(
    grid: Grid, reference_arm: str, subset: str, smallest: dict[str, float], draws: _Draws
) -> Iterator[list[dict[str, object]]]:
    """Yield the records of each arm against the reference; all arms share one bootstrap."""
    reference = grid.arms.index(reference_arm)
    others = [arm for arm in range(len(grid.arms)) if arm != reference]
    for other in others:
        _check_paired(grid, reference, other)
    pairs = [_common_values(grid, reference, other, subset) for other in others]
    differences = np.concatenate([values - subtracted for subtracted, values in pairs], axis=2)
    estimates = two_level(differences, **draws._asdict())
    margins = [smallest.get(column.metric, np.nan) for column in grid.columns]
    hits = np.concatenate([are_hits(subtracted, values) for subtracted, values in pairs])
    tests = _tests(differences, estimates, hits, np.tile(margins, len(others)), draws)
    width = len(grid.columns)
    for number, (other, (subtracted, values)) in enumerate(zip(others, pairs, strict=True)):
        means, reference_means = _means(values), _means(subtracted)
        mcnemar = mcnemar_exact(subtracted, values)
        yield [
            {
                **grid.setting,
                "arm": grid.arms[other],
                "reference_arm": reference_arm,
                **column._asdict(),
                "subset": subset,
                "mean": means[c],
                "mean_reference": reference_means[c],
                "difference": estimates.mean[number * width + c],
                "interval": draws.interval,
                **{name: results[number * width + c] for name, results in tests.items()},
                "p_mcnemar": mcnemar[c],
                **interval_fields(estimates, number * width + c, grid.seeds),
                "num_skipped": _num_skipped(grid, reference, other, c),
            }
            for c, column in enumerate(grid.columns)
            if grid.present[other, :, :, c].any()
        ]


def _tests(
    differences: Floats,
    estimates: Estimates,
    hits: NDArray[np.bool_],
    margins: Floats,
    draws: _Draws,
) -> dict[str, Floats]:
    """Return the fields of the tests, each (C,)."""
    flips = sign_flip_tests(
        differences,
        seed_part=estimates.seed_part,
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


def _common_values(grid: Grid, reference: int, other: int, subset: str) -> tuple[Floats, Floats]:
    """Return the values (S, I, C) of the reference and of the arm, NaN unless both have one."""
    subtracted, values = grid.values[reference], grid.values[other]
    usable = np.isfinite(subtracted) & np.isfinite(values)
    if subset == "both_correct":
        usable &= (grid.correct[reference] & grid.correct[other])[:, :, None]
    return np.where(usable, subtracted, np.nan), np.where(usable, values, np.nan)


def _means(values: Floats) -> Floats:
    """Return the mean over seeds of the means over images, (C,)."""
    present = np.isfinite(values)
    counts = present.sum(1)
    sums = np.where(present, values, 0.0).sum(1)
    per_seed = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    num_seeds = (counts > 0).sum(0)
    means: Floats = np.full(len(num_seeds), np.nan)
    np.divide(per_seed.sum(0), num_seeds, out=means, where=num_seeds > 0)
    return means


def _num_skipped(grid: Grid, reference: int, other: int, column: int) -> int:
    usable = np.isfinite(grid.values[[reference, other], :, :, column]).all(0)
    return int((grid.present[reference, :, :, column] & ~usable).sum())


def _check_paired(grid: Grid, reference: int, other: int) -> None:
    """Raise unless both arms have the same seeds, images, metrics and protocols."""
    unpaired = grid.present[reference] != grid.present[other]
    if not unpaired.any():
        return
    names = f"{grid.arms[reference]} and {grid.arms[other]}"
    where = f"{grid.setting['dataset']} ({grid.setting['source']})"
    for s, seed in enumerate(grid.seeds):
        for arm in (reference, other):
            if not grid.present[arm, s].any():
                raise NotComparableError(
                    f"{where}: expected {names} at every seed, but {grid.arms[arm]} has no rows "
                    f"at seed {seed}; finish the run, or leave that seed out"
                )
    raise NotComparableError(_unpaired_message(grid, unpaired, where, names))


def _unpaired_message(grid: Grid, unpaired: NDArray[np.bool_], where: str, names: str) -> str:
    seed, image, number = (int(k) for k in np.argwhere(unpaired)[0])
    column: Column = grid.columns[number]
    score = f"{column.metric} of {column.method or 'the model'}"
    if column.protocol:
        score += f" under protocol '{column.protocol}'"
    count = int(unpaired[:, :, number].sum())
    images = "1 image has" if count == 1 else f"{count} images have"
    return (
        f"{where}: expected {names} on the same images, but {images} {score} in one arm only "
        f"(first: '{grid.image_ids[image]}' at seed "
        f"{grid.seeds[seed]}); score both arms on the same images"
    )
