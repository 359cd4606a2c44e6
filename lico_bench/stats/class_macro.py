"""Class-macro means, as published for the pointing game."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lico_bench.stats.grid import as_frame

_GROUP = (
    "dataset", "source", "backbone", "labels", "arm", "seed", "method", "metric", "protocol",
)  # fmt: skip
CLASS_MACRO_COLUMNS = (*_GROUP, "mean", "num_classes", "num_images", "num_skipped")


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
    group = list(_GROUP)
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
