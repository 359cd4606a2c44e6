"""Reference scores as a small CSV that a person can read, review and edit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.checks import check_positive, is_name
from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.gate.facts import RunFacts
from lico_bench.gate.uncertainty import MeanFacts, default_margin
from lico_bench.records import content_key
from lico_bench.stats import arm_means, as_frame
from lico_bench.store import write_bytes

KEY_COLUMNS = ("dataset", "backbone", "labels", "arm", "method", "metric")
NUMBER_COLUMNS = ("mean", "image_error", "seed_spread", "margin", "num_images", "num_seeds")
IMAGES = "pictures"  # references of before have no such column, and are not asked for it
REFERENCE_COLUMNS = (
    *KEY_COLUMNS, "source", "protocol", "higher_is_better", *NUMBER_COLUMNS, IMAGES,
)  # fmt: skip

WRITTEN_DIGITS = 6
FEW = 100  # draws of a bootstrap whose intervals nobody reads here


def write_reference(
    scores: Any,
    path: str | Path,
    *,
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    margin: float | None = None,
) -> pd.DataFrame:
    """Write the means of `scores` as the reference that later runs are checked against.

    Args:
        scores, metrics, margin: as `make_reference` takes them.
        path: of the CSV; replaced in one step.

    Returns:
        What was written, columns `REFERENCE_COLUMNS`.

    Raises:
        InvalidInputError: as `make_reference` does; nothing is written then.
    """
    frame = make_reference(scores, metrics=metrics, margin=margin)
    store_reference(frame, Path(path))
    return frame


def make_reference(
    scores: Any,
    *,
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    margin: float | None = None,
) -> pd.DataFrame:
    """The means of `scores` with what is known of their uncertainty, and a margin for each.

    Args:
        scores: a run folder, several as `gate.Trainings`, rows, or anything with `to_frame()`.
        metrics: facts of each metric by name, as in a run's manifest; read from there if `scores`
            has one.
        margin: how much worse a mean may be. None: `uncertainty.default_margin`, at least 0.02,
            so that an equal model passes in 95 of 100 checks.

    Returns:
        Columns `REFERENCE_COLUMNS`. Left out, because nothing could be judged by them: descriptive
        metrics, control methods, and means of a single image. `seed_spread` is NaN with one seed.

    Raises:
        InvalidInputError: for a metric without declared direction, or nothing left.
    """
    if margin is not None:
        check_positive("margin", margin)
    facts = RunFacts.of(scores, metrics)
    means = means_of(scores)
    means["higher_is_better"] = [facts.direction(metric) for metric in means["metric"]]
    is_judged = [facts.judged(*pair) for pair in zip(means["metric"], means["method"], strict=True)]
    frame: pd.DataFrame = means[np.array(is_judged) & np.isfinite(means["image_error"])].copy()
    if frame.empty:
        raise InvalidInputError(
            "scores: expected a metric with a direction over two or more images, got none; "
            "score more images before freezing a reference"
        )
    # As the file will hold them, so that the rule gives the same margin when it is read again.
    written = ["mean", "image_error", "seed_spread"]
    frame[written] = frame[written].round(WRITTEN_DIGITS)
    frame["margin"] = [margin or default_margin(facts_of(row)) for _, row in frame.iterrows()]
    return frame[list(REFERENCE_COLUMNS)].reset_index(drop=True)


def store_reference(frame: pd.DataFrame, path: Path) -> None:
    """Write a reference by atomic rename."""
    write_bytes(path, frame.to_csv(index=False, float_format=f"%.{WRITTEN_DIGITS}f").encode())


def means_of(scores: Any) -> pd.DataFrame:
    """Means of arms as a reference holds them, with what tells the images from others."""
    rows = as_frame(scores)
    means = with_parts(arm_means(rows, resamples=FEW))
    ids = rows[["dataset", "image_id"]].drop_duplicates()
    digests = {
        str(dataset): content_key(sorted(part["image_id"].astype(str)))
        for dataset, part in ids.groupby("dataset", observed=True)
    }
    return means.assign(**{IMAGES: [digests[str(name)] for name in means["dataset"]]})


def with_parts(means: pd.DataFrame) -> pd.DataFrame:
    """Means of arms with the two parts of their uncertainty, as a reference holds them."""
    spreads = [np.std(one, ddof=1) if len(one) > 1 else np.nan for one in means["per_seed"]]
    return means.assign(image_error=means["image_part"], seed_spread=np.array(spreads, dtype=float))


def facts_of(row: pd.Series[Any]) -> MeanFacts:
    """What a row of a reference, or of means `with_parts`, knows of its mean."""
    return MeanFacts(
        image_error=float(row["image_error"]),
        seed_spread=float(row["seed_spread"]),
        num_images=int(row["num_images"]),
        num_seeds=int(row["num_seeds"]),
    )


def read_reference(reference: str | Path | pd.DataFrame) -> pd.DataFrame:
    """The reference scores, checked.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is no table, or its columns, numbers or keys are not as written.
    """
    if isinstance(reference, pd.DataFrame):
        return _checked(reference, "reference")
    path = Path(reference)
    return _checked(read_table(path), str(path))


def read_table(path: Path) -> pd.DataFrame:
    """A CSV as text, whatever its columns.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is no table.
    """
    if not path.is_file():
        raise MissingDataError(
            f"no such reference file: {path}; write one from a run with --update, or name another"
        )
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise BrokenFileError(
            f"{path}: not readable as CSV ({error}); restore it from version control"
        ) from error


def _checked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    if IMAGES not in frame.columns:
        frame = frame.assign(**{IMAGES: ""})
    missing = [column for column in REFERENCE_COLUMNS if column not in frame.columns]
    if missing:
        raise BrokenFileError(
            f"{name}: columns missing: {', '.join(missing)}; expected a reference that this "
            "version of lico-bench wrote, write a new one with --update"
        )
    if frame.empty:
        raise BrokenFileError(f"{name}: expected at least one reference score, got none")
    frame = frame[list(REFERENCE_COLUMNS)].copy()
    for column in NUMBER_COLUMNS:
        numbers = _numbers(frame, column, name)
        frame[column] = numbers.astype(int) if column.startswith("num_") else numbers
    frame["higher_is_better"] = [_truth(value, name) for value in frame["higher_is_better"]]
    for column in (*KEY_COLUMNS, "source", "protocol", IMAGES):
        frame[column] = frame[column].astype(str)
        odd = [text for text in frame[column].unique() if not (is_name(text) or text == "")]
        if odd:
            raise BrokenFileError(
                f"{name}: {column}: expected names of letters, digits and underscores, got "
                f"'{odd[0][:60]}'; correct the file"
            )
    twice = frame.duplicated(list(KEY_COLUMNS))
    if twice.any():
        row = frame[twice].iloc[0]
        raise BrokenFileError(
            f"{name}: expected one row per score, got two for {row['metric']} of "
            f"{row['method'] or 'the model'} ({row['dataset']}, {row['arm']}); remove one"
        )
    return frame


def _numbers(frame: pd.DataFrame, column: str, name: str) -> pd.Series[float]:
    numbers = pd.to_numeric(frame[column], errors="coerce").astype(float)
    lowest = -math.inf if column == "mean" else 1.0 if column.startswith("num_") else 0.0
    wrong = ~np.isfinite(numbers.to_numpy()) | (numbers.to_numpy() < lowest)
    if column == "seed_spread":  # one training has none
        written = frame[column].fillna("").astype(str).to_numpy()
        is_single = pd.to_numeric(frame["num_seeds"], errors="coerce").to_numpy() == 1
        wrong &= ~((written == "") & is_single)
    if wrong.any():
        line = int(wrong.argmax())
        raise BrokenFileError(
            f"{name}: row {line + 1}: {column}: expected a number, "
            f"got '{frame[column].iloc[line]}'; correct the file"
        )
    return numbers


def _truth(value: object, name: str) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise BrokenFileError(f"{name}: higher_is_better: expected True or False, got '{value}'")
    return text == "true"
