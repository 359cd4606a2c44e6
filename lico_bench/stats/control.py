"""Scores of saliency methods relative to a control method that ignores the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lico_bench.errors import UnknownNameError
from lico_bench.stats.grid import as_frame, check_unique

NO_CONTROL = "no_control"  # flag: the control has no value for this image
_KEY = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "seed", "labels", "image_id", "metric",
    "protocol",
)  # fmt: skip


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
    groups = frame.groupby(list(_KEY), sort=False, observed=True)
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
