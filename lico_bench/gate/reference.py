"""Reference scores as a small CSV that a person can read, review and edit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.checks import check_positive
from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.stats import OWN_SCORES, arm_means
from lico_bench.store import write_bytes

KEY_COLUMNS = ("dataset", "backbone", "labels", "arm", "method", "metric")
NUMBER_COLUMNS = ("mean", "standard_error", "margin", "num_images", "num_seeds")
REFERENCE_COLUMNS = (
    *KEY_COLUMNS, "source", "protocol", "higher_is_better", *NUMBER_COLUMNS,
)  # fmt: skip

SMALLEST_MARGIN = 0.02  # of a probability or a share: less is no change that anyone acts on

# An equal model passes in 95 of 100 checks if the margin is 2 * 1.645 * sqrt(2) = 4.7 standard
# errors: one 1.645 for the bound, one for the draw, sqrt(2) because both runs are uncertain.
MARGIN_IN_ERRORS = 5.0


def write_reference(
    scores: Any,
    path: str | Path,
    *,
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    margin: float | None = None,
) -> pd.DataFrame:
    """Write the means of `scores` as the reference that later runs are checked against.

    Args:
        scores: a run folder, rows, or anything with `to_frame()`.
        path: of the CSV; replaced in one step.
        metrics: facts of each metric by name, as in a run's manifest; read from there if `scores`
            is a run folder.
        margin: how much worse a mean may be. None: five standard errors of the row, at least 0.02,
            so that an equal model passes in 95 of 100 checks.

    Returns:
        What was written, columns `REFERENCE_COLUMNS`. Descriptive metrics and rows without a
        standard error are left out: nothing could be judged by them.

    Raises:
        InvalidInputError: for a metric without declared direction, or nothing left to write.
    """
    if margin is not None:
        check_positive("margin", margin)
    directions = _directions(scores, metrics)
    means = arm_means(scores)
    unknown = sorted(set(means["metric"]) - set(directions))
    if unknown:
        raise InvalidInputError(
            f"metrics: expected a direction for each metric, got none for {', '.join(unknown)}; "
            "pass metrics={name: {'higher_is_better': ...}} or a run folder"
        )
    means["higher_is_better"] = means["metric"].map(directions).astype(object)
    means["standard_error"] = standard_error(means)
    keep = means["higher_is_better"].notna() & np.isfinite(means["standard_error"])
    frame: pd.DataFrame = means[keep].copy()
    if frame.empty:
        raise InvalidInputError(
            "scores: expected a metric with a direction over two or more images, got none; "
            "score more images before freezing a reference"
        )
    frame["margin"] = margin or [_default_margin(error) for error in frame["standard_error"]]
    frame = frame[list(REFERENCE_COLUMNS)].reset_index(drop=True)
    write_bytes(Path(path), frame.to_csv(index=False, float_format="%.6f").encode())
    return frame


def read_reference(reference: str | Path | pd.DataFrame) -> pd.DataFrame:
    """The reference scores, checked.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is no table, or its columns, numbers or keys are not as written.
    """
    if isinstance(reference, pd.DataFrame):
        return _checked(reference, "reference")
    path = Path(reference)
    if not path.is_file():
        raise MissingDataError(
            f"no such reference file: {path}; write one from a run with --update, or name another"
        )
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise BrokenFileError(
            f"{path}: not readable as CSV ({error}); restore it from version control"
        ) from error
    return _checked(frame, str(path))


def standard_error(means: pd.DataFrame) -> pd.Series[float]:
    """Both levels together; one seed leaves the pictures alone."""
    parts = means["seed_part"].fillna(0.0) ** 2 + means["image_part"] ** 2
    return parts**0.5


def _default_margin(error: float) -> float:
    """Five standard errors, rounded up to a hundredth."""
    return max(SMALLEST_MARGIN, math.ceil(100 * MARGIN_IN_ERRORS * error) / 100)


def _directions(
    scores: Any, metrics: Mapping[str, Mapping[str, Any]] | None
) -> dict[str, bool | None]:
    if metrics is None:
        metrics = scores.manifest()["metrics"] if hasattr(scores, "manifest") else {}
    own = {name: spec.higher_is_better for name, spec in OWN_SCORES.items()}
    return own | {name: facts["higher_is_better"] for name, facts in metrics.items()}


def _checked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    missing = [column for column in REFERENCE_COLUMNS if column not in frame.columns]
    if missing:
        raise BrokenFileError(
            f"{name}: columns missing: {', '.join(missing)}; "
            "expected a reference that lico-bench wrote"
        )
    if frame.empty:
        raise BrokenFileError(f"{name}: expected at least one reference score, got none")
    frame = frame[list(REFERENCE_COLUMNS)].copy()
    for column in NUMBER_COLUMNS:
        numbers = pd.to_numeric(frame[column], errors="coerce").astype(float)
        lowest = -math.inf if column == "mean" else 0.0
        wrong = ~np.isfinite(numbers.to_numpy()) | (numbers.to_numpy() < lowest)
        if wrong.any():
            line = int(wrong.argmax())
            raise BrokenFileError(
                f"{name}: row {line + 1}: {column}: expected a number, "
                f"got '{frame[column].iloc[line]}'; correct the file"
            )
        frame[column] = numbers
    frame["higher_is_better"] = [_truth(value, name) for value in frame["higher_is_better"]]
    for column in (*KEY_COLUMNS, "source", "protocol"):
        frame[column] = frame[column].astype(str)
    twice = frame.duplicated(list(KEY_COLUMNS))
    if twice.any():
        row = frame[twice].iloc[0]
        raise BrokenFileError(
            f"{name}: expected one row per score, got two for {row['metric']} of "
            f"{row['method'] or 'the model'} ({row['dataset']}, {row['arm']}); remove one"
        )
    return frame


def _truth(value: object, name: str) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise BrokenFileError(f"{name}: higher_is_better: expected True or False, got '{value}'")
    return text == "true"
