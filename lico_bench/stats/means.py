"""Means of each arm over seeds and images and over classes, and the scores of the models.

`metrics` specifies the scores of saliency maps; the scores of a model are specified here, with the
calibration error made of them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.checks import check_count
from lico_bench.records import MetricSpec
from lico_bench.stats.bootstrap import RESAMPLES, Estimates, two_level
from lico_bench.stats.grid import as_frame, build_grids

MEAN_COLUMNS = (
    "dataset", "source", "backbone", "labels", "arm", "method", "metric", "protocol", "mean",
    "low", "high", "seed_part", "image_part", "interval_over", "num_images", "num_seeds",
    "num_skipped", "num_flagged", "seeds", "per_seed", "note",
)  # fmt: skip
_NOTES = {
    0: "every image was skipped, so there is no mean",
    1: "a single image, so there is no interval",
}
_MACRO_GROUP = (
    "dataset", "source", "backbone", "labels", "arm", "seed", "method", "metric", "protocol",
)  # fmt: skip
CLASS_MACRO_COLUMNS = (*_MACRO_GROUP, "mean", "num_classes", "num_images", "num_skipped")


def arm_means(
    scores: Any, *, interval: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Return the mean score per dataset, arm, method and metric, with its interval.

    Args:
        scores: rows (`records.ROW_COLUMNS`) or an object with `to_frame()` or `rows()`.
        interval: nominal coverage.
        resamples: number of bootstrap draws.
        seed: seed of the draws.

    Returns:
        Columns `MEAN_COLUMNS`. `low` and `high` cover the variation over seeds and images with
        several seeds, else over images only, as given by `interval_over`. `num_skipped` counts
        missing values, `num_flagged` all flagged rows. `note` explains a missing number.

    Raises:
        InvalidInputError, NotComparableError: as `build_grids`.
    """
    records: list[dict[str, object]] = []
    for grid in build_grids(scores):
        skipped = grid.present & np.isnan(grid.values)
        for a, arm in enumerate(grid.arms):
            estimates = two_level(grid.values[a], interval=interval, resamples=resamples, seed=seed)
            records += [
                {
                    **grid.setting,
                    "arm": arm,
                    **column._asdict(),
                    "mean": estimates.mean[c],
                    **interval_fields(estimates, c, grid.seeds),
                    "num_skipped": int(skipped[a, :, :, c].sum()),
                    "num_flagged": int(grid.flagged[a, :, :, c].sum()),
                }
                for c, column in enumerate(grid.columns)
                if grid.present[a, :, :, c].any()
            ]
    return pd.DataFrame(records, columns=list(MEAN_COLUMNS))


def class_macro(scores: Any) -> pd.DataFrame:
    """Return the mean over classes of the class means, per training, method and metric.

    Args:
        scores: rows (`records.ROW_COLUMNS`) or an object with `to_frame()` or `rows()`.

    Returns:
        Columns `CLASS_MACRO_COLUMNS`. The class is the explained one (`target`). All classes have
        equal weight; a class whose images were all skipped is left out. `mean` is NaN if all
        classes are left out.

    Raises:
        InvalidInputError: for missing columns, or missing values without a flag.

    Source: Zhang et al., IJCV 2018.
    Differs: a class without a scored image is left out; published code counts it as 0.
    """
    frame = as_frame(scores)
    group = list(_MACRO_GROUP)
    by_class = frame.groupby([*group, "target"], sort=False, observed=True)["value"]
    classes = by_class.agg(["mean", "count", "size"])
    means = classes.groupby(group, sort=False, observed=True).agg(
        mean=("mean", "mean"),
        num_classes=("mean", "count"),
        num_images=("count", "sum"),
        num_rows=("size", "sum"),
    )
    means["num_skipped"] = means["num_rows"] - means["num_images"]
    return means.reset_index()[list(CLASS_MACRO_COLUMNS)]


def interval_fields(estimates: Estimates, column: int, seeds: tuple[int, ...]) -> dict[str, object]:
    """Return the fields that means and differences share: interval, its parts and counts."""
    by_seed = zip(seeds, estimates.per_seed[:, column], strict=True)
    used = [(seed, float(mean)) for seed, mean in by_seed if pd.notna(mean)]
    num_images = int(estimates.num_images[column])
    over = "images" if len(used) == 1 else "seeds and images"
    return {
        "low": estimates.low[column],
        "high": estimates.high[column],
        "seed_part": estimates.seed_part[column],
        "image_part": estimates.image_part[column],
        "interval_over": "" if num_images < 2 else over,
        "num_images": num_images,
        "num_seeds": int(estimates.num_seeds[column]),
        "seeds": [seed for seed, _ in used],
        "per_seed": [mean for _, mean in used],
        "note": _NOTES.get(num_images, ""),
    }


BINS = 15


def _spec(
    name: str, title: str, unit: str, source: str, *, is_better: bool | None = None,
    largest: float = 1.0,
) -> MetricSpec:  # fmt: skip
    return MetricSpec(
        name=name,
        title=title,
        higher_is_better=is_better,
        bounds=(0.0, largest),
        unit=unit,
        source=source,
        needs=(),
        category="model",
    )


_ALL = "all test images"
_ENDS = "probability of the scored class, explained images"
_SPECS = (
    _spec("accuracy", "Accuracy", "share of images", f"top-1, {_ALL}", is_better=True),
    # No direction: a more confident model is not a better one.
    _spec("confidence", "Confidence", "probability", f"of the predicted class, {_ALL}"),
    _spec(
        "brier", "Brier score", "squared probability", f"Brier 1950, all classes, {_ALL}",
        is_better=False, largest=2.0,
    ),
    _spec("score_whole", "Score, whole image", "probability", _ENDS),
    _spec("score_blurred", "Score, blurred", "probability", _ENDS),
    _spec("score_emptied", "Score, emptied", "probability", _ENDS),
)  # fmt: skip
MODEL_SCORES = MappingProxyType({spec.name: spec for spec in _SPECS})


def calibration_errors(rows: pd.DataFrame, *, bins: int = BINS) -> pd.DataFrame:
    """Return the expected calibration error per model: Σ_b n_b / n · |accuracy_b − confidence_b|.

    Args:
        rows: score rows, `records.ROW_COLUMNS`; images without `accuracy` or `confidence`, such as
            unlabelled images, are left out.
        bins: number of equal-width bins over [0, 1]; a confidence on an edge belongs to the lower
            bin.

    Returns:
        One row per cell: cell, calibration_error in [0, 1], num_images.

    Source: Guo et al., ICML 2017, eq. 3.
    """
    check_count("bins", bins)
    metrics = ["accuracy", "confidence"]
    model_rows = rows[rows["metric"].isin(metrics) & (rows["method"] == "")]
    wide = model_rows.pivot_table(
        index=["cell", "image_id"], columns="metric", values="value", observed=True
    )
    wide.columns = wide.columns.astype(str)
    wide = wide.reindex(columns=metrics).dropna()
    records = []
    for cell, part in wide.groupby(level="cell", sort=False, observed=True):
        confidence = part["confidence"].to_numpy()
        bin_index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        gaps = part["accuracy"].to_numpy() - confidence
        in_bins = np.abs(np.bincount(bin_index, weights=gaps, minlength=bins))
        records.append((cell, float(in_bins.sum() / len(part)), len(part)))
    return pd.DataFrame(records, columns=["cell", "calibration_error", "num_images"])
