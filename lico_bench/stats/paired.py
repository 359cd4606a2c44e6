"""Paired differences: between arms, of methods from a control, and their mean over datasets.

Arms are compared on the same images and seeds. `pooled_difference` is the random-effects mean of
one difference over several datasets. With the difference y_k of dataset k, its standard error s_k
and w_k = 1 / (s_k^2 + tau^2), where tau^2 solves sum_k w_k (y_k - m)^2 = K - 1 and is 0 if the sum
is smaller without it:

    m                    = sum_k w_k y_k / sum_k w_k
    s^2                  = max(1, sum_k w_k (y_k - m)^2 / (K - 1)) / sum_k w_k
    interval             = m +- t(K - 1) s
    prediction interval  = m +- t(K - 2) sqrt(tau^2 + s^2)          of one more dataset
    I^2                  = max(0, 1 - (K - 1) / Q),  Q = sum_k (y_k - m_0)^2 / s_k^2

with m_0 the mean for tau = 0.

Source: Paule and Mandel, Journal of Research of the National Bureau of Standards 1982 (tau^2);
Hartung and Knapp, Statistics in Medicine 2001 (s^2 and t); Higgins, Thompson and Spiegelhalter,
Journal of the Royal Statistical Society A 2009 (prediction interval, I^2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import stdtrit

from lico_bench.checks import check_choice, check_positive
from lico_bench.errors import InvalidInputError, NotComparableError, UnknownNameError
from lico_bench.stats.bootstrap import RESAMPLES, Floats, nan_mean, two_level
from lico_bench.stats.grid import Grid, as_frame, build_grids, check_unique
from lico_bench.stats.means import interval_fields
from lico_bench.stats.significance import crossed_tests, mcnemar_exact, sign_flip_test

PAIRED_COLUMNS = (
    "dataset", "source", "backbone", "labels", "arm", "reference_arm", "method", "metric",
    "protocol", "subset", "mean", "mean_reference", "difference", "low", "high", "interval",
    "seed_part", "image_part", "test_low", "test_high", "lower", "upper", "p_beyond", "p_value",
    "p_images", "p_mcnemar", "effect_size",
    "smallest_effect", "p_equivalent", "interval_over", "num_images", "num_seeds", "num_skipped",
    "seeds", "per_seed", "note",
)  # fmt: skip
MOST_WHOLE = 0.9
SUBSETS = ("all", "both_correct")
# Relative to the mean. Scores are computed in float32; a smaller spread is rounding error.
_NO_SPREAD = 1e-6
NO_CONTROL = "no_control"  # flag: the control has no value for this image
_SCORE_KEY = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "seed", "labels", "image_id", "metric",
    "protocol",
)  # fmt: skip
LEAST_DATASETS = 4  # fewer give no useful estimate of their spread


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
        resamples: draws of the two-level bootstrap (see `stats.bootstrap`), which gives the
            interval, and of the sign flips (see `stats.significance`).
        seed: seed of the draws; equal rows give equal numbers.

    Returns:
        Columns `PAIRED_COLUMNS`, one row per dataset, arm, method and metric; empty for one arm.
        `difference` is arm minus reference over the same images, `per_seed` that of each seed;
        `seed_part` and `image_part` are the standard errors of the two levels. `effect_size` is
        `difference` in standard deviations of the images.

        `p_value` tests for a difference under new trainings and new images (see
        `stats.significance`); `test_low` and `test_high` are the interval of that test, `lower` and
        `upper` its one-sided 95 % bounds. `p_equivalent` tests for an effect as large as
        `smallest_effect`, `p_beyond` for one that is no larger in the direction of the difference.
        `p_images` tests for a difference under new images for these trainings, `p_mcnemar` the same
        exactly for hits (NaN for other metrics). The p-values are not corrected for multiple tests;
        use `holm`.

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
        records += _compare(grid, reference_arm, subset, smallest, draws)
    return pd.DataFrame(records, columns=list(PAIRED_COLUMNS))


def standardised_effect(differences: Floats) -> Floats:
    """Return mean / standard deviation of the per-image, seed-averaged differences, (C,).

    Args:
        differences: (S, I, C); NaN where there is no value.

    Returns:
        Cohen's d_z of each column; 0 if all differences are 0, NaN if they are equal but not 0 or
        there are fewer than two images.

    Source: Lakens, Frontiers in Psychology 2013, eq. 6.
    Differs: averages over seeds first, so that the noise between trainings does not add to the
    spread between images.
    """
    by_image = nan_mean(differences, 0)
    mean = nan_mean(by_image, 0)
    freedom = np.isfinite(by_image).sum(0) - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.sqrt(np.nansum((by_image - mean) ** 2, 0) / freedom)
        varies = deviation > _NO_SPREAD * np.abs(mean)
        effect = np.where(varies, mean / deviation, np.where(mean == 0, 0.0, np.nan))
    return np.where(freedom > 0, effect, np.nan)


def minus_control(scores: Any, control: str) -> pd.DataFrame:
    """Return each method's score minus the control method's, on the same image and model.

    Effects that change the score of any map, such as a more confident model, cancel. The rest is
    due to the location of the map.

    Args:
        scores: rows (`records.ROW_COLUMNS`) or an object with `to_frame()` or `rows()`.
        control: a method that ignores the network, such as `random_map`.

    Returns:
        Rows of all other methods; model scores and rows of the control are left out. The
        difference is NaN, with a flag, where the method or the control has no value.

    Raises:
        UnknownNameError: if there are no rows of the control.
        InvalidInputError: for invalid rows, or two rows of the control for one image.
    """
    frame = as_frame(scores)
    is_control = (frame["method"] == control).to_numpy()
    if not is_control.any():
        methods = [str(name) for name in frame["method"].unique() if name]
        raise UnknownNameError.of("control method", control, methods)
    is_method = (frame["method"] != "").to_numpy() & ~is_control
    groups = frame.groupby(list(_SCORE_KEY), sort=False, observed=True)
    group = groups.ngroup().to_numpy().astype(np.int64)
    num_groups = int(group.max()) + 1
    check_unique(frame[is_control], group[is_control], num_groups)
    values = frame["value"].to_numpy(dtype=np.float64)
    control_values = np.full(num_groups, np.nan)
    control_values[group[is_control]] = values[is_control]
    subtracted = control_values[group[is_method]]
    others = frame[is_method].copy()
    others["value"] = values[is_method] - subtracted
    others["flag"] = np.where(
        np.isnan(subtracted) & (others["flag"] == ""), NO_CONTROL, others["flag"]
    )
    return others.reset_index(drop=True)


class _Draws(NamedTuple):
    interval: float
    resamples: int
    seed: int


def _compare(
    grid: Grid, reference_arm: str, subset: str, smallest: dict[str, float], draws: _Draws
) -> list[dict[str, object]]:
    """Return the records of each arm against the reference; all arms share one bootstrap."""
    reference = grid.arms.index(reference_arm)
    others = [arm for arm in range(len(grid.arms)) if arm != reference]
    for other in others:
        _check_paired(grid, reference, other)
    has_both = np.isfinite(grid.values[reference]) & np.isfinite(grid.values[others])
    skipped = _side_by_side(grid.present[others] & ~has_both).sum((0, 1))
    if subset == "both_correct":
        has_both &= (grid.correct[reference] & grid.correct[others])[..., None]
    subtracted = _side_by_side(np.where(has_both, grid.values[reference], np.nan))
    values = _side_by_side(np.where(has_both, grid.values[others], np.nan))
    differences = values - subtracted
    estimates = two_level(differences, **draws._asdict())
    margins = [smallest.get(column.metric, np.nan) for column in grid.columns]
    smallest_effects = np.tile(margins, len(others))
    tests = crossed_tests(differences, hits=_are_counted(subtracted, values))
    lower, upper = tests.bounds
    test_low, test_high = tests.interval(draws.interval)
    numbers = {
        "mean": nan_mean(nan_mean(values, 1), 0),
        "mean_reference": nan_mean(nan_mean(subtracted, 1), 0),
        "difference": estimates.mean,
        "test_low": test_low,
        "test_high": test_high,
        "lower": lower,
        "upper": upper,
        "p_value": tests.p_value,
        "p_images": sign_flip_test(differences, resamples=draws.resamples, seed=draws.seed),
        "p_equivalent": tests.p_equivalent(smallest_effects),
        "p_beyond": tests.p_beyond(smallest_effects),
        "p_mcnemar": mcnemar_exact(subtracted, values),
        "effect_size": standardised_effect(differences),
        "smallest_effect": smallest_effects,
        "num_skipped": skipped,
    }
    return [
        {
            **grid.setting,
            "arm": grid.arms[other],
            "reference_arm": reference_arm,
            **column._asdict(),
            "subset": subset,
            "interval": draws.interval,
            **{name: array[k] for name, array in numbers.items()},
            **interval_fields(estimates, k, grid.seeds),
        }
        for k, (other, (c, column)) in enumerate(product(others, enumerate(grid.columns)))
        if grid.present[other, :, :, c].any()
    ]


def _are_counted(reference: Floats, arm: Floats) -> NDArray[np.bool_]:
    """Return whether a column is of hits, (C,), also where a control's hits are subtracted.

    Pixels that share the maximum of a map give a hit a fraction; nine tenths are whole numbers.
    """
    both = np.concatenate([reference, arm])
    num_whole = np.isin(both, (-1, 0, 1)).sum((0, 1))
    num_values = np.isfinite(both).sum((0, 1))
    is_within = np.abs(np.nan_to_num(both)).max((0, 1)) <= 1
    return np.asarray((num_whole >= MOST_WHOLE * num_values) & is_within & (num_values > 0))


def _side_by_side(arms: NDArray[Any]) -> NDArray[Any]:
    """Return the columns of all arms in one array: (A, S, I, C) to (S, I, A * C)."""
    return np.concatenate(arms, axis=2)


def _check_paired(grid: Grid, reference: int, other: int) -> None:
    """Raise unless both arms have the same seeds, images, metrics and protocols."""
    unpaired = grid.present[reference] != grid.present[other]
    if not unpaired.any():
        return
    names = f"{grid.arms[reference]} and {grid.arms[other]}"
    where = f"{grid.setting['dataset']} ({grid.setting['source']})"
    for (s, seed), arm in product(enumerate(grid.seeds), (reference, other)):
        if not grid.present[arm, s].any():
            raise NotComparableError(
                f"{where}: expected {names} at every seed, but {grid.arms[arm]} has no rows "
                f"at seed {seed}; finish the run, or leave that seed out"
            )
    s, image, number = (int(k) for k in np.argwhere(unpaired)[0])
    column, count = grid.columns[number], int(unpaired[:, :, number].sum())
    protocol = f" under protocol '{column.protocol}'" if column.protocol else ""
    raise NotComparableError(
        f"{where}: expected {names} on the same images, but "
        f"{'1 image has' if count == 1 else f'{count} images have'} {column.metric} of "
        f"{column.method or 'the model'}{protocol} in one arm only "
        f"(first: '{grid.image_ids[image]}' at seed {grid.seeds[s]}); "
        "score both arms on the same images"
    )


@dataclass(frozen=True)
class PooledDifference:
    """Mean over K datasets with its 95 % interval.

    Attributes:
        predicted_low, predicted_high: 95 % prediction interval of one more dataset.
        tau: standard deviation of the true differences between datasets.
        i_squared: share of the spread that is not due to the datasets' own errors, in [0, 1].
    """

    mean: float
    low: float
    high: float
    predicted_low: float
    predicted_high: float
    tau: float
    i_squared: float
    num_datasets: int


def pooled_difference(differences: ArrayLike, errors: ArrayLike) -> PooledDifference:
    """Pool the differences (K,) of at least four datasets with their standard errors (K,) > 0.

    Raises:
        InvalidInputError: for fewer datasets, other shapes, or errors that are not positive.
    """
    values, spread = np.asarray(differences, dtype=float), np.asarray(errors, dtype=float)
    count = len(values)
    is_valid = values.shape == spread.shape == (count,) and count >= LEAST_DATASETS
    if not (is_valid and np.isfinite(values).all() and (spread > 0).all()):
        raise InvalidInputError(
            f"pooling: expected at least {LEAST_DATASETS} differences with standard errors above "
            f"0, got {values.tolist()!r:.80} and {spread.tolist()!r:.80}"
        )
    variances = spread**2
    heterogeneity = _weighted_squares(0.0, values, variances)
    between = 0.0
    if heterogeneity > count - 1:
        # The sum falls in tau^2, and is below K - 1 where tau^2 is the sum of squares.
        most = float(((values - values.mean()) ** 2).sum())
        between = float(
            brentq(lambda tau2: _weighted_squares(tau2, values, variances) - (count - 1), 0.0, most)
        )
    weights = 1 / (variances + between)
    mean = float((weights * values).sum() / weights.sum())
    squares = float((weights * (values - mean) ** 2).sum())
    # Datasets that agree by chance give no error below that of their own errors.
    error = float(np.sqrt(max(1.0, squares / (count - 1)) / weights.sum()))
    width = float(stdtrit(count - 1, 0.975)) * error
    predicted = float(stdtrit(count - 2, 0.975) * np.sqrt(between + error**2))
    return PooledDifference(
        mean=mean,
        low=mean - width,
        high=mean + width,
        predicted_low=mean - predicted,
        predicted_high=mean + predicted,
        tau=float(np.sqrt(between)),
        i_squared=max(0.0, 1 - (count - 1) / heterogeneity) if heterogeneity > 0 else 0.0,
        num_datasets=count,
    )


def _weighted_squares(between: float, values: Floats, variances: Floats) -> float:
    weights = 1 / (variances + between)
    mean = (weights * values).sum() / weights.sum()
    return float((weights * (values - mean) ** 2).sum())
