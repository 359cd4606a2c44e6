"""Verdicts of the model randomisation sanity check.

A method passes if its map changes when the network's weights are randomised. With s the mean
absolute similarity between the maps of the trained and of the fully randomised network, e its
standard error over images and z = 1.645 (one-sided 95 %):

    s + z * e < threshold    pass
    s - z * e > threshold    fail
    otherwise                inconclusive

Choice of the threshold 0.5: a map that ignores the network, such as an edge map, has similarity 1.
Maps of unrelated networks have 0.1 (gradients) to 0.5 (Eigen-CAM at 8 x 8 cells); this is above 0
because absolute values are averaged and smooth maps have few independent cells. At 0.5, two maps
share a quarter of the variance of their ranks, which chance can explain.

Source: Adebayo et al., NeurIPS 2018.
Differs: threshold and bounds are added; the source judges by eye.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri

from lico_bench.errors import InvalidInputError

THRESHOLD = 0.5
CASCADE = "cascade"
SANITY_CHECK = "sanity_check"
GROUP_COLUMNS = ("dataset", "source", "backbone", "labels", "arm", "method", "protocol")
Outcome = Literal["pass", "fail", "inconclusive"]
ATOL_START = 1e-3  # tolerance for the similarity of a map with itself, 1


@dataclass(frozen=True)
class SanityVerdict:
    """The outcome of the sanity check for one method on one model.

    Attributes:
        similarity: mean absolute similarity after full randomisation, in [0, 1].
        low, high: one-sided bounds of the similarity; NaN for a single image.
    """

    outcome: Outcome
    similarity: float
    low: float
    high: float
    num_images: int
    sentence: str


def sanity_verdict(
    cascades: ArrayLike, *, threshold: float = THRESHOLD, confidence: float = 0.95
) -> SanityVerdict:
    """Return the verdict on one method from the cascades of its maps.

    Args:
        cascades: (N, S + 1) similarities to the map of the trained network, after 0 to S stages of
            randomisation; the first is 1.
        threshold: similarity in (0, 1); a method above it fails.
        confidence: confidence of each one-sided bound, in (0.5, 1).

    Raises:
        InvalidInputError: for invalid cascades, or arguments out of range.
    """
    if not 0 < threshold < 1:
        raise InvalidInputError(f"threshold: expected a similarity in (0, 1), got {threshold}")
    if not 0.5 < confidence < 1:
        raise InvalidInputError(
            f"confidence: expected a value between 0.5 and 1, got {confidence}; 0.95 is usual"
        )
    values = _validated(cascades)
    final = np.abs(values[:, -1])
    mean = float(final.mean())
    error = float(final.std(ddof=1) / np.sqrt(len(final))) if len(final) > 1 else float("nan")
    margin = float(ndtri(confidence)) * error
    low, high = mean - margin, mean + margin
    outcome: Outcome = "inconclusive"
    bounds = f"it lies between {low:.2f} and {high:.2f}"
    reason = f"{bounds}, which holds {threshold:.2f}; score more images"
    if len(final) == 1:
        reason = "a single image has no standard error, score more images"
    elif high < threshold:
        outcome, reason = "pass", f"{bounds}, below {threshold:.2f}"
    elif low > threshold:
        outcome = "fail"
        reason = f"{bounds}, above {threshold:.2f}: the map does not need the network"
    sentence = f"similarity falls from 1 to {mean:.2f} when the network forgets; {reason}"
    return SanityVerdict(outcome, mean, low, high, len(final), sentence)


def sanity_verdicts(curves: pd.DataFrame, *, threshold: float = THRESHOLD) -> pd.DataFrame:
    """Return a verdict for each method and arm.

    Args:
        curves: rows of `records.CURVE_COLUMNS`; only cascades are used. An image with cascades of
            several seeds counts once, with their mean.

    Returns:
        One row per dataset, backbone, arm and method, with the fields of `SanityVerdict`.

    Raises:
        InvalidInputError: if there is no cascade among the curves.
    """
    rows = curves[curves["curve"] == CASCADE]
    if rows.empty:
        raise InvalidInputError(
            "sanity check: the run has no cascades; add the metric sanity_check to the run"
        )
    records: list[dict[str, object]] = []
    for key, part in rows.groupby(list(GROUP_COLUMNS), sort=True, observed=True):
        stacked = np.abs(np.stack([np.asarray(values, dtype=float) for values in part["values"]]))
        by_image = pd.DataFrame(stacked).groupby(part["image_id"].to_numpy()).mean()
        verdict = sanity_verdict(by_image.to_numpy(), threshold=threshold)
        records.append({**dict(zip(GROUP_COLUMNS, key, strict=True)), **asdict(verdict)})
    return pd.DataFrame(records)


def _validated(cascades: ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = np.asarray(cascades, dtype=np.float64)
    if values.ndim != 2 or len(values) == 0 or values.shape[1] < 2:
        raise InvalidInputError(
            f"cascades: expected (N, stages + 1) similarities, got {values.shape}"
        )
    if not np.isfinite(values).all():
        raise InvalidInputError("cascades: expected finite similarities, got NaN or infinity")
    if np.abs(values[:, 0] - 1).max() > ATOL_START:
        raise InvalidInputError(
            "cascades: expected to start at 1, the similarity of a map with itself, "
            f"got {values[:, 0].min():.3g}; include the stage before randomisation"
        )
    return values
