"""Reference scores in a small CSV file that can be reviewed and edited by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from lico_bench.checks import check_positive, is_name
from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.gate.judgement import MeanFacts, default_margin
from lico_bench.gate.side import ALL, MetricFacts, Selection, Side
from lico_bench.number_text import signed
from lico_bench.records import content_key
from lico_bench.stats import arm_means
from lico_bench.store import write_bytes

KEY_COLUMNS = ("dataset", "backbone", "labels", "arm", "method", "metric")
NUMBER_COLUMNS = ("mean", "image_error", "seed_spread", "margin", "num_images", "num_seeds")
IMAGES_COLUMN = "pictures"  # older references lack this column
TEXT_COLUMNS = (*KEY_COLUMNS, "source", "protocol", IMAGES_COLUMN)
REFERENCE_COLUMNS = (
    *KEY_COLUMNS, "source", "protocol", "higher_is_better", *NUMBER_COLUMNS, IMAGES_COLUMN,
)  # fmt: skip

NUM_DECIMALS = 6
NUM_RESAMPLES = 100  # small, because the bootstrap intervals are not used here


@dataclass(frozen=True, kw_only=True)
class ScoreMean(MeanFacts):
    """The mean of a score over the images and trainings of an arm, with its uncertainty.

    Attributes:
        method: empty for a score of the model.
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
    pictures: str

    @property
    def key(self) -> tuple[str, ...]:
        """The values of `KEY_COLUMNS`, which identify a score in a reference."""
        return tuple(getattr(self, name) for name in KEY_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class ReferenceScore(ScoreMean):
    """A row of a reference; `margin` is the largest allowed loss of the mean."""

    higher_is_better: bool
    margin: float


Mean = TypeVar("Mean", bound=ScoreMean)


def rows_as(kind: type[Mean], frame: pd.DataFrame) -> list[Mean]:
    """Return the rows of a reference, or of `score_means`, as records of class `kind`."""
    names = [field.name for field in fields(kind)]
    records = frame[names].astype(dict.fromkeys(TEXT_COLUMNS, str)).to_dict("records")
    return [kind(**{str(name): value for name, value in row.items()}) for row in records]


def score_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the fields of `ScoreMean` for each score of each arm."""
    means = arm_means(rows, resamples=NUM_RESAMPLES)
    means["image_error"] = means["image_part"]
    means["seed_spread"] = [
        np.std(seed_means, ddof=1) if len(seed_means) > 1 else np.nan
        for seed_means in means["per_seed"]
    ]
    ids = rows[["dataset", "image_id"]].drop_duplicates()
    digests = {
        str(dataset): content_key(sorted(group["image_id"].astype(str)))
        for dataset, group in ids.groupby("dataset", observed=True)
    }
    means[IMAGES_COLUMN] = [digests[str(name)] for name in means["dataset"]]
    return means


def write_reference(
    scores: Any,
    path: str | Path,
    *,
    metrics: MetricFacts | None = None,
    margin: float | None = None,
) -> pd.DataFrame:
    """Write the means of `scores` as the reference that later runs are checked against.

    Args:
        scores: a run folder, several as `gate.Trainings`, rows, or anything with `to_frame()`.
        path: path of the CSV; replaced atomically.
        metrics: facts of each metric by name, as in a run's manifest. None: those of the manifest
            of `scores`.
        margin: largest allowed loss of a mean. None: `judgement.default_margin`, at least 0.02,
            with which an equal model passes in 95 of 100 checks.

    Returns:
        The written table, columns `REFERENCE_COLUMNS`, without scores that cannot be judged:
        descriptive metrics, control methods and means of a single image. `seed_spread` is NaN with
        one seed.

    Raises:
        InvalidInputError: for a metric without a declared direction, or if no score is left;
            nothing is written then.
    """
    frame = _make_reference(Side.of(scores, metrics=metrics), margin)
    _store(frame, Path(path))
    return frame


def _make_reference(side: Side, margin: float | None) -> pd.DataFrame:
    if margin is not None:
        check_positive("margin", margin)
    means = score_means(side.rows)
    means["higher_is_better"] = [side.direction(metric) for metric in means["metric"]]
    frame: pd.DataFrame = means[side.is_judged(means) & np.isfinite(means["image_error"])].copy()
    if frame.empty:
        raise InvalidInputError(
            "scores: expected a metric with a direction over two or more images, got none; "
            "score more images before writing a reference"
        )
    # Rounded as in the file, so that the stored values give the same default margin.
    rounded = ["mean", "image_error", "seed_spread"]
    frame[rounded] = frame[rounded].round(NUM_DECIMALS)
    frame["margin"] = [margin or default_margin(mean) for mean in rows_as(ScoreMean, frame)]
    return frame[list(REFERENCE_COLUMNS)].reset_index(drop=True)


def _store(frame: pd.DataFrame, path: Path) -> None:
    write_bytes(path, frame.to_csv(index=False, float_format=f"%.{NUM_DECIMALS}f").encode())


def read_reference(reference: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read and validate reference scores.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is not a CSV table, or its columns, numbers or keys are invalid.
    """
    if isinstance(reference, pd.DataFrame):
        return _validate(reference, "reference")
    return _validate(_read_table(Path(reference)), str(reference))


def _read_table(path: Path) -> pd.DataFrame:
    """Read a CSV with any columns; all values are text."""
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
    for column in TEXT_COLUMNS:
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


@dataclass(frozen=True)
class Change:
    """Texts on one changed score of a reference.

    Attributes:
        before, after: means; empty if the score was added or removed.
        change: change of the mean, `added` or `removed`.
        others: changes of the margin and other columns.
    """

    score: str
    before: str
    after: str
    change: str
    others: str


@dataclass(frozen=True)
class Update:
    """Result of an update: the new table, the changed scores, a summary and notes."""

    frame: pd.DataFrame
    changes: tuple[Change, ...]
    sentence: str
    notes: tuple[str, ...]


def update_reference(
    scores: Any, path: Path, *, margin: float | None = None, only: Selection = ALL
) -> Update:
    """Write the scores as the reference, atomically, and return the changes.

    Margins set by hand (different from the default margin) are kept, unless `margin` is given.

    Args:
        scores, margin: see `write_reference`.
        only: metrics and methods to replace; other rows are kept.

    Raises:
        BrokenFileError: if `path` is a file but not a reference; it is not changed.
        UnknownNameError: for a metric or method in `only` that the scores lack.
        InvalidInputError: see `write_reference`.
    """
    old, notes = _read_old(path)
    side = Side.of(scores)
    new = _make_reference(side, margin)
    only.check_known(new, side.name)
    new = new[only.mask(new)]
    before = _scores_by_key(old)
    if margin is None:
        set_margins = {
            key: score.margin
            for key, score in before.items()
            if not math.isclose(score.margin, default_margin(score), abs_tol=1e-9)
        }
        new = new.assign(
            margin=[set_margins.get(key, s.margin) for key, s in _scores_by_key(new).items()]
        )
    if old is not None and not old.empty:
        new = pd.concat([old[~only.mask(old)], new], ignore_index=True)
    new = new.reset_index(drop=True)
    _store(new, path)
    after = _scores_by_key(new)
    kept = [(before[key], score) for key, score in after.items() if key in before]
    changed = [_changed(*pair) for pair in kept if _stored(pair[0]) != _stored(pair[1])]
    added = [
        Change(_score_text(score), "", f"{score.mean:.4f}", "added", f"margin {score.margin:.3f}")
        for key, score in after.items()
        if key not in before
    ]
    removed = [
        Change(_score_text(score), f"{score.mean:.4f}", "", "removed", "")
        for key, score in before.items()
        if key not in after
    ]
    sentence = (
        f"{len(changed)} changed, {len(added)} added, {len(removed)} removed, "
        f"{len(kept) - len(changed)} unchanged of {len(after)} scores"
    )
    listed = added if old is not None else []  # every score of a first reference is new
    notes += _cannot_fail_notes(after, side)
    return Update(new, (*changed, *removed, *listed), sentence, notes)


def _read_old(path: Path) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Return the existing reference and notes; None if there is none or its version is unknown."""
    try:
        return read_reference(path), ()
    except MissingDataError:
        return None, ()
    except BrokenFileError as error:
        if not set(KEY_COLUMNS) <= set(_read_table(path).columns):
            raise BrokenFileError(
                f"{path}: expected a reference of lico-bench, got another file; choose another path"
            ) from error
        return None, (f"The old reference could not be read and was replaced: {error}",)


def _scores_by_key(frame: pd.DataFrame | None) -> dict[tuple[str, ...], ReferenceScore]:
    return {} if frame is None else {score.key: score for score in rows_as(ReferenceScore, frame)}


def _changed(old: ReferenceScore, new: ReferenceScore) -> Change:
    step = new.mean - old.mean
    change = "mean unchanged"
    if round(step, NUM_DECIMALS):
        is_better = (step > 0) == new.higher_is_better
        change = f"{signed(step, 4)}, {'better' if is_better else 'worse'}"
    was, now = _stored(old), _stored(new)
    others = [
        f"{name} {getattr(old, name)} → {getattr(new, name)}"
        for name in ("source", "protocol", "num_images", "num_seeds", IMAGES_COLUMN)
        if was[name] != now[name]
    ]
    if was["margin"] != now["margin"]:
        others.insert(0, f"margin {old.margin:.3f} → {new.margin:.3f}")
    return Change(_score_text(new), f"{old.mean:.4f}", f"{new.mean:.4f}", change, "; ".join(others))


def _stored(score: ReferenceScore) -> Mapping[str, object]:
    """Return the fields, numbers as text as in the file."""
    return {
        name: f"{value:.{NUM_DECIMALS}f}" if isinstance(value, float) else value
        for name, value in asdict(score).items()
    }


def _cannot_fail_notes(
    scores: Mapping[tuple[str, ...], ReferenceScore], side: Side
) -> tuple[str, ...]:
    """Return a note on scores whose margin is at least their largest possible loss, if any."""
    count = 0
    for score in scores.values():
        low, high = side.spec(score.metric).bounds
        worst = low if score.higher_is_better else high
        count += worst is not None and abs(score.mean - worst) <= score.margin
    if not count:
        return ()
    return (
        f"{count} of {len(scores)} scores cannot fail, because their margin is at least their "
        "largest possible loss; score more images, write the reference from more trainings, or "
        "reduce the margin",
    )


def _score_text(score: ReferenceScore) -> str:
    of_method = f" of {score.method}" if score.method else ""
    budget = "" if score.labels == "full" else f", {score.labels} labels"
    arrow = "↑" if score.higher_is_better else "↓"
    return f"{score.dataset}, {score.arm}{budget}: {score.metric} {arrow}{of_method}"
