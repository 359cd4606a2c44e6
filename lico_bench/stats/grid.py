"""Conversion of score rows to dense arrays, with the checks that make arms comparable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from lico_bench.errors import InvalidInputError, NotComparableError
from lico_bench.records import ROW_COLUMNS

Codes = NDArray[np.int64]

_SETTING = ("dataset", "source", "backbone", "labels")
_KINDS: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (("value",), lambda kind: is_numeric_dtype(kind) and not is_bool_dtype(kind), "numbers"),
    (("correct",), is_bool_dtype, "True or False"),
    (("seed", "target"), is_integer_dtype, "whole numbers"),
)


class Column(NamedTuple):
    """Method, metric and protocol of one column of a grid."""

    method: str
    metric: str
    protocol: str


@dataclass(frozen=True)
class Grid:
    """All scores of one dataset, backbone and label budget.

    Attributes:
        setting: dataset, source, backbone and labels.
        arms: names, in order of first appearance.
        seeds: training seeds, ascending; each seed identifies one pair.
        columns: method, metric and protocol of each column.
        values: (A, S, I, C) float64; NaN without a row or for a skipped image.
        present: (A, S, I, C) bool, whether there is a row.
        flagged: (A, S, I, C) bool, whether the row has a flag.
        correct: (A, S, I) bool, whether the arm's model classifies the image correctly.
    """

    setting: dict[str, str]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    image_ids: tuple[str, ...]
    columns: tuple[Column, ...]
    values: NDArray[np.float64]
    present: NDArray[np.bool_]
    flagged: NDArray[np.bool_]
    correct: NDArray[np.bool_]


def as_frame(scores: Any) -> pd.DataFrame:
    """Return the rows of `scores`: a DataFrame, or an object with `to_frame()` or `rows()`.

    Raises:
        InvalidInputError: for another type, no rows, missing columns, columns of a wrong type, or
            a non-finite value without a flag.
    """
    for name in ("to_frame", "rows"):
        if hasattr(scores, name) and not isinstance(scores, pd.DataFrame):
            scores = getattr(scores, name)()
    if not isinstance(scores, pd.DataFrame):
        raise InvalidInputError(
            f"scores: expected a DataFrame of rows or Scores, got {type(scores).__name__}"
        )
    missing = [name for name in ROW_COLUMNS if name not in scores.columns]
    if missing:
        raise InvalidInputError(
            f"scores: columns missing: {', '.join(missing)}; expected those of rows.parquet of "
            "this version; score again if another version wrote the rows"
        )
    if scores.empty:
        raise InvalidInputError(
            "scores: expected at least one row, got none; score some images first"
        )
    _check_kinds(scores)
    values = scores["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    broken = np.isinf(values) | (np.isnan(values) & (scores["flag"] == "").to_numpy())
    if broken.any():
        row = scores.iloc[int(broken.argmax())]
        raise InvalidInputError(
            f"scores: expected finite values, got {row['value']} in {int(broken.sum())} rows "
            f"without a flag (first: {row['metric']} of image '{row['image_id']}', "
            f"arm {row['arm']}); score these images again"
        )
    return scores


def _check_kinds(frame: pd.DataFrame) -> None:
    """Raise for wrong column types and empty entries, as other versions or spreadsheets write."""
    for names, is_kind, kind in _KINDS:
        for name in names:
            if not is_kind(frame[name].dtype):
                raise InvalidInputError(
                    f"scores: column '{name}': expected {kind}, got {frame[name].dtype} "
                    f"(first: {frame[name].iloc[0]!r}); pass rows of "
                    "rows.parquet, written by one version"
                )
    for name in ROW_COLUMNS:
        empty = frame[name].isna()
        if name != "value" and empty.any():
            raise InvalidInputError(
                f"scores: column '{name}': expected an entry in every row, got none in "
                f"{int(empty.sum())} of {len(frame)}; pass rows of one version"
            )


def build_grids(scores: Any) -> Iterator[Grid]:
    """Yield one grid per dataset, source, backbone and label budget, by first appearance.

    Raises:
        InvalidInputError: as `as_frame`, and for two rows of the same score.
        NotComparableError: for two protocols of one metric, two data sources in one pair, or two
            pairs with the same seed.
    """
    frame = as_frame(scores)
    _, sources = _encode(frame, ("pair", "dataset", "source"))
    for pair, dataset, source, other in _conflicts(sources):
        raise NotComparableError(
            f"{dataset}: pair {pair} was scored on two data sources, '{source}' and '{other}'; "
            "score both arms on the same images"
        )
    codes, settings = _encode(frame, _SETTING)
    for number, setting in enumerate(settings):
        # Copying millions of rows takes seconds.
        part = frame if len(settings) == 1 else frame[codes == number]
        yield _build_grid(part, dict(zip(_SETTING, map(str, setting), strict=True)))


def _build_grid(frame: pd.DataFrame, setting: dict[str, str]) -> Grid:
    arm_codes, arms = _encode(frame, ("arm",))
    pair_codes, pairs = _encode(frame, ("seed", "pair"))
    image_codes, images = _encode(frame, ("image_id",))
    column_codes, columns = _encode(frame, ("method", "metric", "protocol"))
    for seed, _, _ in _conflicts(pairs):
        raise NotComparableError(
            f"{setting['dataset']}: expected one pair per seed, got two with seed {seed}; "
            "they were trained with different recipes, compare one recipe at a time"
        )
    for method, metric, protocol, other in _conflicts(columns):
        raise NotComparableError(
            f"{setting['dataset']}: {metric} of {method or 'the model'} was scored under two "
            f"protocols, '{protocol}' and '{other}'; pass the rows of one protocol"
        )
    seeds = [int(seed) for seed, _ in pairs]
    seed_codes = np.argsort(np.argsort(seeds))[pair_codes]
    shape = (len(arms), len(seeds), len(images), len(columns))
    index = np.ravel_multi_index((arm_codes, seed_codes, image_codes, column_codes), shape)
    check_unique(frame, index, int(np.prod(shape)))
    values = np.full(shape, np.nan)
    values.flat[index] = frame["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    present, flagged = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    present.flat[index] = True
    flagged.flat[index] = (frame["flag"] != "").to_numpy()
    correct = np.zeros(shape[:3], dtype=bool)
    correct[arm_codes, seed_codes, image_codes] = frame["correct"].to_numpy(dtype=bool)
    return Grid(
        setting=setting,
        arms=tuple(str(arm) for (arm,) in arms),
        seeds=tuple(sorted(seeds)),
        image_ids=tuple(str(image) for (image,) in images),
        columns=tuple(Column(*map(str, column)) for column in columns),
        values=values,
        present=present,
        flagged=flagged,
        correct=correct,
    )


def _encode(frame: pd.DataFrame, names: tuple[str, ...]) -> tuple[Codes, list[tuple[Any, ...]]]:
    """Return the code of each row's combination of values, and the distinct combinations."""
    codes, uniques = pd.factorize(frame[names[0]])
    levels: list[tuple[Any, ...]] = [(value,) for value in uniques]
    for name in names[1:]:
        column_codes, values = pd.factorize(frame[name])
        codes, distinct = pd.factorize(codes * len(values) + column_codes)
        levels = [(*levels[int(k) // len(values)], values[int(k) % len(values)]) for k in distinct]
    return codes.astype(np.int64), levels


def _conflicts(entries: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield each key, all but the last value of an entry, that has two last values, and both."""
    found: dict[tuple[Any, ...], Any] = {}
    for *key, value in entries:
        other = found.setdefault(tuple(key), value)
        if other != value:
            yield *key, other, value


def check_unique(frame: pd.DataFrame, index: Codes, size: int) -> None:
    """Raise if two rows have the same `index`, an array of integers in [0, size)."""
    counts = np.bincount(index, minlength=size)
    if counts.max() > 1:
        row = frame.iloc[int((counts[index] > 1).argmax())]
        raise InvalidInputError(
            f"scores: expected one row per score, got {counts.max()} for {row['metric']} of "
            f"image '{row['image_id']}' (dataset {row['dataset']}, arm {row['arm']}, "
            f"seed {row['seed']}); drop the duplicates"
        )
