"""Scores of saliency methods over those of a map that knows nothing of the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lico_bench.errors import UnknownNameError
from lico_bench.stats.grid import as_frame, check_single

NO_CONTROL = "no_control"  # flag: the control has no value on this image
_PLACE = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "seed", "labels", "image_id", "metric",
    "protocol",
)  # fmt: skip


def minus_control(scores: Any, control: str) -> pd.DataFrame:
    """Each method's value minus the control method's, on the same image of the same model.

    Whatever changes the score of any map, such as a surer model, changes that of the control too;
    what is left is due to where the map points.

    Args:
        scores: rows (`records.ROW_COLUMNS`) or anything with `to_frame()` or `rows()`.
        control: a method that ignores the network, such as `random_map`.

    Returns:
        Rows of all other methods; the model's own scores and the control's are left out. Where the
        method or the control has no value, neither has the difference, and a flag says so.

    Raises:
        UnknownNameError: if no row is of the control.
        InvalidInputError: for rows that cannot be scores, or two of the control for one image.
    """
    frame = as_frame(scores)
    is_control = (frame["method"] == control).to_numpy()
    if not is_control.any():
        methods = [str(name) for name in frame["method"].unique() if name]
        raise UnknownNameError.of("control method", control, methods)
    is_method = (frame["method"] != "").to_numpy() & ~is_control
    groups = frame.groupby(list(_PLACE), sort=False, observed=True)
    places = groups.ngroup().to_numpy().astype(np.int64)
    num_places = int(places.max()) + 1
    check_single(frame[is_control], places[is_control], num_places)
    values = frame["value"].to_numpy(dtype=np.float64)
    of_control = np.full(num_places, np.nan)
    of_control[places[is_control]] = values[is_control]
    subtracted = of_control[places[is_method]]
    others = frame[is_method].copy()
    others["value"] = values[is_method] - subtracted
    others["flag"] = np.where(
        np.isnan(subtracted) & (others["flag"] == ""), NO_CONTROL, others["flag"]
    )
    return others.reset_index(drop=True)
