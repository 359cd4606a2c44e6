"""How far a model's confidence is from how often it is right."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lico_bench.checks import check_count

BINS = 15


def calibration_errors(rows: pd.DataFrame, *, bins: int = BINS) -> pd.DataFrame:
    """Expected calibration error of each model: Σ_b n_b / n · |right_b − confidence_b|.

    Args:
        rows: scores, `records.ROW_COLUMNS`; images without `accuracy` and `confidence`, such as
            those without a label, are left out.
        bins: of equal width over [0, 1]; a confidence on a border belongs to the lower bin.

    Returns:
        One row per cell: cell, calibration_error in [0, 1], num_images.

    Source: Guo et al., ICML 2017, eq. 3.
    """
    check_count("bins", bins)
    both = ["accuracy", "confidence"]
    own = rows[rows["metric"].isin(both) & (rows["method"] == "")]
    wide = own.pivot_table(
        index=["cell", "image_id"], columns="metric", values="value", observed=True
    )
    wide.columns = wide.columns.astype(str)
    wide = wide.reindex(columns=both).dropna()
    records = []
    for cell, part in wide.groupby(level="cell", sort=False, observed=True):
        confidence = part["confidence"].to_numpy()
        number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
        gaps = part["accuracy"].to_numpy() - confidence
        in_bins = np.abs(np.bincount(number, weights=gaps, minlength=bins))
        records.append((cell, float(in_bins.sum() / len(part)), len(part)))
    return pd.DataFrame(records, columns=["cell", "calibration_error", "num_images"])
