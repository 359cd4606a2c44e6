"""Reference scores in a small CSV file that can be reviewed and edited by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from lico_bench.checks import check_positive, is_name
from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.gate.facts import MetricFacts, RunFacts
from lico_bench.gate.uncertainty import MeanFacts, default_margin
from lico_bench.records import content_key
from lico_bench.stats import arm_means, as_frame
from lico_bench.store import write_bytes

KEY_COLUMNS = ("dataset", "backbone", "labels", "arm", "method", "metric")
NUMBER_COLUMNS = ("mean", "image_error", "seed_spread", "margin", "num_images", "num_seeds")
IMAGES_COLUMN = "pictures"  # older references lack this column
REFERENCE_COLUMNS = (
    *KEY_COLUMNS, "source", "protocol", "higher_is_better", *NUMBER_COLUMNS, IMAGES_COLUMN,
)  # fmt: skip

NUM_DECIMALS = 6
NUM_RESAMPLES = 100  # small, because the bootstrap intervals are not used here


@dataclass(frozen=True, kw_only=True)
class ScoreMean:
    """The mean of a score over the images and trainings of an arm, with its uncertainty.

    Attributes:
        method: empty for a score of the model.
        image_error: standard error from the images, >= 0.
        seed_spread: standard deviation between the means of single trainings; NaN with one.
        pictures: digest of the image names; empty if unknown.
    """

    dataset: str
    backbone: str
    labels: str
    arm: str
    method: str
    metric: str
    source: str
    protocol: str
    mean: float
    image_error: float
    seed_spread: float
    num_images: int
    num_seeds: int
    pictures: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """The values of `KEY_COLUMNS`, which identify a score in a reference."""
        return tuple(getattr(self, name) for name in KEY_COLUMNS)

    @property
    def facts(self) -> MeanFacts:
        """The uncertainty of the mean."""
        return MeanFacts(self.image_error, self.seed_spread, self.num_images, self.num_seeds)


@dataclass(frozen=True, kw_only=True)
class ReferenceScore(ScoreMean):
    """A row of a reference; `margin` is the largest allowed loss of the mean."""

    higher_is_better: bool
    margin: float


Mean = TypeVar("Mean", bound=ScoreMean)


def rows_as(kind: type[Mean], frame: pd.DataFrame) -> list[Mean]:
    """Return the rows of a reference, or of `with_error_parts`, as records of class `kind`."""
    names = [field.name for field in fields(kind) if field.name in frame.columns]
    texts = [name for name in names if name in (*KEY_COLUMNS, "source", "protocol")]
    records = frame[names].astype(dict.fromkeys(texts, str)).to_dict("records")
    return [kind(**{str(name): value for name, value in row.items()}) for row in records]


def write_reference(
    scores: Any,
    path: str | Path,
    *,
    metrics: MetricFacts | None = None,
    margin: float | None = None,
) -> pd.DataFrame:
    """Write the means of `scores` as the reference that later runs are checked against.

    Args:
        scores, metrics, margin: see `make_reference`.
        path: path of the CSV; replaced atomically.

    Returns:
        The written table, columns `REFERENCE_COLUMNS`.

    Raises:
        InvalidInputError: see `make_reference`; nothing is written then.
    """
    frame = make_reference(scores, metrics=metrics, margin=margin)
    store_reference(frame, Path(path))
    return frame


def make_reference(
    scores: Any,
    *,
    metrics: MetricFacts | None = None,
    margin: float | None = None,
) -> pd.DataFrame:
    """Return the means of `scores` with their uncertainty and a margin for each.

    Args:
        scores: a run folder, several as `gate.Trainings`, rows, or anything with `to_frame()`.
        metrics: facts of each metric by name, as in a run's manifest. None: those of the manifest
            of `scores`.
        margin: largest allowed loss of a mean. None: `uncertainty.default_margin`, at least 0.02,
            with which an equal model passes in 95 of 100 checks.

    Returns:
        Columns `REFERENCE_COLUMNS`, without scores that cannot be judged: descriptive metrics,
        control methods and means of a single image. `seed_spread` is NaN with one seed.

    Raises:
        InvalidInputError: for a metric without a declared direction, or if no score is left.
    """
    if margin is not None:
        check_positive("margin", margin)
    facts = RunFacts.of(scores, metrics)
    means = run_means(scores)
    means["higher_is_better"] = [facts.direction(metric) for metric in means["metric"]]
    is_judged = [
        facts.is_judged(*pair) for pair in zip(means["metric"], means["method"], strict=True)
    ]
    frame: pd.DataFrame = means[np.array(is_judged) & np.isfinite(means["image_error"])].copy()
    if frame.empty:
        raise InvalidInputError(
            "scores: expected a metric with a direction over two or more images, got none; "
            "score more images before writing a reference"
        )
    # Rounded as in the file, so that the stored values give the same default margin.
    rounded = ["mean", "image_error", "seed_spread"]
    frame[rounded] = frame[rounded].round(NUM_DECIMALS)
    frame["margin"] = [margin or default_margin(row.facts) for row in rows_as(ScoreMean, frame)]
    return frame[list(REFERENCE_COLUMNS)].reset_index(drop=True)


def store_reference(frame: pd.DataFrame, path: Path) -> None:
    """Write a reference, atomically."""
    write_bytes(path, frame.to_csv(index=False, float_format=f"%.{NUM_DECIMALS}f").encode())


def run_means(scores: Any) -> pd.DataFrame:
    """Return the means per arm with their errors and a digest of the image names."""
    rows = as_frame(scores)
    means = with_error_parts(arm_means(rows, resamples=NUM_RESAMPLES))
    ids = rows[["dataset", "image_id"]].drop_duplicates()
    digests = {
        str(dataset): content_key(sorted(group["image_id"].astype(str)))
        for dataset, group in ids.groupby("dataset", observed=True)
    }
    return means.assign(**{IMAGES_COLUMN: [digests[str(name)] for name in means["dataset"]]})


def with_error_parts(means: pd.DataFrame) -> pd.DataFrame:
    """Add the two parts of the uncertainty of each mean: `image_error` and `seed_spread`."""
    spreads = [
        np.std(seed_means, ddof=1) if len(seed_means) > 1 else np.nan
        for seed_means in means["per_seed"]
    ]
    return means.assign(image_error=means["image_part"], seed_spread=np.array(spreads, dtype=float))


def read_reference(reference: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read and validate reference scores.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is not a CSV table, or its columns, numbers or keys are invalid.
    """
    if isinstance(reference, pd.DataFrame):
        return _validate(reference, "reference")
    path = Path(reference)
    return _validate(read_table(path), str(path))


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV with any columns; all values are text.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is not a CSV table.
    """
    if not path.is_file():
        raise MissingDataError(
            f"no such reference file: {path}; write it with --update, or correct the path"
        )
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise BrokenFileError(
            f"{path}: not readable as CSV ({error}); restore it from version control"
        ) from error


def _validate(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    if IMAGES_COLUMN not in frame.columns:
        frame = frame.assign(**{IMAGES_COLUMN: ""})
    missing = [column for column in REFERENCE_COLUMNS if column not in frame.columns]
    if missing:
        raise BrokenFileError(
            f"{name}: columns missing: {', '.join(missing)}; expected a reference of this version "
            "of lico-bench, write a new one with --update"
        )
    if frame.empty:
        raise BrokenFileError(
            f"{name}: expected at least one reference score, got none; write it with --update"
        )
    frame = frame[list(REFERENCE_COLUMNS)].copy()
    for column in NUMBER_COLUMNS:
        numbers = _parse_numbers(frame, column, name)
        frame[column] = numbers.astype(int) if column.startswith("num_") else numbers
    frame["higher_is_better"] = [_parse_bool(value, name) for value in frame["higher_is_better"]]
    for column in (*KEY_COLUMNS, "source", "protocol", IMAGES_COLUMN):
        frame[column] = frame[column].astype(str)
        invalid = [text for text in frame[column].unique() if not (is_name(text) or text == "")]
        if invalid:
            raise BrokenFileError(
                f"{name}: {column}: expected names of letters, digits and underscores, got "
                f"'{invalid[0][:60]}'; correct the file"
            )
    duplicates = frame.duplicated(list(KEY_COLUMNS))
    if duplicates.any():
        row = frame[duplicates].iloc[0]
        raise BrokenFileError(
            f"{name}: expected one row per score, got two for {row['metric']} of "
            f"{row['method'] or 'the model'} ({row['dataset']}, {row['arm']}); remove one"
        )
    return frame


def _parse_numbers(frame: pd.DataFrame, column: str, name: str) -> pd.Series[float]:
    numbers = pd.to_numeric(frame[column], errors="coerce").astype(float)
    minimum = -math.inf if column == "mean" else 1.0 if column.startswith("num_") else 0.0
    invalid = ~np.isfinite(numbers.to_numpy()) | (numbers.to_numpy() < minimum)
    if column == "seed_spread":  # empty for a single training
        texts = frame[column].fillna("").astype(str).to_numpy()
        is_single = pd.to_numeric(frame["num_seeds"], errors="coerce").to_numpy() == 1
        invalid &= ~((texts == "") & is_single)
    if invalid.any():
        row = int(invalid.argmax())
        raise BrokenFileError(
            f"{name}: row {row + 1}: {column}: expected a number, "
            f"got '{frame[column].iloc[row]}'; correct the file"
        )
    return numbers


def _parse_bool(value: object, name: str) -> bool:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise BrokenFileError(
            f"{name}: higher_is_better: expected True or False, got '{value}'; correct the file"
        )
    return text == "true"
