"""Specifications of the model scores, and the calibration error made of them.

`metrics` specifies the scores of saliency maps.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pandas as pd

from lico_bench.checks import check_count
from lico_bench.records import MetricSpec

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
