"""Means over classes instead of images, as the pointing game was published."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lico_bench.stats.grid import as_frame

_GROUP = (
    "dataset", "source", "backbone", "labels", "arm", "seed", "method", "metric", "protocol",
)  # fmt: skip
CLASS_MACRO_COLUMNS = (*_GROUP, "mean", "num_classes", "num_images", "num_skipped")


def class_macro(scores: Any) -> pd.DataFrame:
    """The mean over classes of each class's mean, one row per training, method and metric.

    Args:
        scores: rows (`records.ROW_COLUMNS`) or anything with `to_frame()` or `rows()`.

    Returns:
        Columns `CLASS_MACRO_COLUMNS`. The class is the one that was explained (`target`). A class
        counts once however many images it has; one whose images were all skipped does not
        count, and `mean` is NaN where that holds for every class.

    Raises:
        InvalidInputError: for rows that miss columns, or values without a reason.

    Source: Zhang et al., IJCV 2018.
    Differs: a class without a scored image is left out, where published code counts it as 0.
    """
    frame = as_frame(scores)
    group = list(_GROUP)
    by_class = frame.groupby([*group, "target"], sort=False, observed=True)["value"]
    classes = by_class.agg(["mean", "count", "size"])
    found = classes.groupby(group, sort=False, observed=True).agg(
        mean=("mean", "mean"),
        num_classes=("mean", "count"),
        num_images=("count", "sum"),
        num_rows=("size", "sum"),
    )
    found["num_skipped"] = found["num_rows"] - found["num_images"]
    return found.reset_index()[list(CLASS_MACRO_COLUMNS)]
