"""Checks of the tables of a cell: columns, kinds of values, names, owner and duplicates.

Tables may come from another person. Names become parts of paths and table cells, so they contain
neither slashes nor control characters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_numeric_dtype

from lico_bench.checks import is_name, is_single_line, is_title
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS
from lico_bench.store.cell_folder import CellFolder
from lico_bench.store.codec import REMEDY, shown
from lico_bench.store.files import read_arrow
from lico_bench.store.quarantine import Damage

# Columns that identify a row within a cell.
KEYS = {
    "rows": ("image_id", "method", "metric", "protocol"),
    "curves": ("image_id", "method", "protocol", "curve"),
    "gallery": ("image_id", "method"),
    "history": ("epoch", "quantity"),
}
COLUMNS = {
    "rows": ROW_COLUMNS,
    "curves": CURVE_COLUMNS,
    "gallery": ("cell", *KEYS["gallery"]),
    "history": ("cell", *KEYS["history"], "value"),
}
NUMBERS = {"rows": ("value",), "history": ("epoch", "value")}  # numeric columns
LISTS = {"curves": ("fractions", "values"), "gallery": ("map",)}
NAME_COLUMNS = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "labels", "method", "metric",
    "protocol", "curve", "quantity",
)  # fmt: skip
TITLE_COLUMNS = ("label_name", "predicted_name", "flag")
ID_COLUMNS = ("image_id",)  # paths below a folder of images
MAX_ID_LENGTH = 4_096
MAY_BE_EMPTY = ("method", "protocol", "flag")  # method, protocol: model scores; flag: valid scores


def check_tables(cell: CellFolder, *, pair: str | None = None) -> tuple[Damage, ...]:
    """Return what is wrong with the content of a finished cell's tables.

    Args:
        pair: expected pair of the rows, from the manifest; not compared if None.
    """
    return tuple(
        Damage(cell.table(name), problem)
        for name in KEYS
        if (problem := next(_problems(cell, name, pair), ""))
    )


def _problems(cell: CellFolder, name: str, pair: str | None) -> Iterator[str]:
    owners = {"cell": cell.path.name, "pair": pair}
    texts = [*KEYS[name], *(owner for owner in owners if owner in COLUMNS[name])]
    try:
        table: Any = read_arrow(cell.table(name), COLUMNS[name], texts=texts)
    except (BrokenFileError, MissingDataError) as error:
        yield str(error)
        return
    missing = [column for column in COLUMNS[name] if column not in table.column_names]
    if missing:
        yield f"columns missing: {', '.join(missing)}"
        return
    for owner, key in owners.items():
        others = set(_unique_texts(table, owner)) - {key} if key is not None else set()
        if others:
            yield f"rows of another {owner}, {sorted(map(str, others))[0]}"
    count = cell.record().rows
    if name == "rows" and count is not None and table.num_rows != count:
        yield f"{table.num_rows:,} rows instead of {count:,}"
    repeated = int(table.select(list(KEYS[name])).to_pandas().duplicated().sum())
    if repeated:
        yield f"{repeated:,} rows occur twice"


def _unique_texts(table: Any, column: str) -> list[Any]:
    return table.column(column).unique().to_pylist() if column in table.column_names else []


def check_columns(path: Path, needed: Collection[str], present: Collection[str]) -> None:
    """Raise unless a table has the needed columns."""
    missing = [column for column in needed if column not in present]
    if missing:
        raise BrokenFileError(
            f"{path}: columns missing: {', '.join(missing)}; "
            "it was not written by this version, start a new run"
        )


def check_kinds(path: Path, name: str, frame: pd.DataFrame) -> None:
    """Raise unless the numeric columns of a table hold numbers, and the list columns lists."""
    if frame.empty:
        return
    numbers = [column for column in NUMBERS.get(name, ()) if column in frame]
    wrong = [column for column in numbers if not is_numeric_dtype(frame[column])]
    wrong += [c for c in LISTS.get(name, ()) if not _holds_lists(frame, c)]
    if wrong:
        got = f"{frame[wrong[0]].iloc[0]!r:.40}"
        raise BrokenFileError(
            f"{path}: expected numbers in the column {wrong[0]}, got {got}; "
            "it was not written by this version, start a new run"
        )


def _holds_lists(frame: pd.DataFrame, column: str) -> bool:
    if column not in frame:  # reported by `_check_columns` or `with_images`
        return True
    first = frame[column].iloc[0]
    return isinstance(first, np.ndarray) and is_numeric_dtype(first.dtype)


def check_texts(path: Path, table: pd.DataFrame | pa.Table) -> None:
    """Raise unless the name, title and image-id columns of a stored table are valid.

    Raises:
        BrokenFileError: naming the file and the column.
    """
    names = table.columns if isinstance(table, pd.DataFrame) else table.column_names
    checks = ((NAME_COLUMNS, is_name), (TITLE_COLUMNS, is_title), (ID_COLUMNS, _is_id))
    rules = {name: is_valid for columns, is_valid in checks for name in columns if name in names}
    for name, is_valid in rules.items():
        texts = list(_unique_values(table, name))
        if name in ID_COLUMNS and _are_ids(texts):
            continue
        wrong = [text for text in texts if not is_valid(text)]
        if name in MAY_BE_EMPTY:
            wrong = [text for text in wrong if not isinstance(text, str) or text]
        if wrong:
            raise BrokenFileError(
                f"{path}: column {name}: expected names on one line without control "
                f"characters, got {shown(wrong[0])}; {REMEDY}"
            )


def _is_id(text: Any) -> bool:
    return is_single_line(text) and 0 < len(text) <= MAX_ID_LENGTH


def _are_ids(texts: list[Any]) -> bool:
    """Whether all texts are valid ids, in one pass over the joined texts: a run has millions."""
    if not all(isinstance(text, str) for text in texts):
        return False
    lengths = [len(text) for text in texts]
    has_valid_lengths = not texts or 0 < min(lengths) <= max(lengths) <= MAX_ID_LENGTH
    return has_valid_lengths and is_single_line("".join(texts))


def _unique_values(table: pd.DataFrame | pa.Table, name: str) -> Iterable[Any]:
    """Return the unique values of a column; of an encoded column, its dictionary."""
    if isinstance(table, pd.DataFrame):
        column = table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            return [*column.cat.categories, *([None] if column.isna().any() else [])]
        return [] if column.empty else _unique(column.tolist())
    column = table.column(name)
    missing = [None] if column.null_count else []
    if not pa.types.is_dictionary(column.type):
        return [*missing, *column.unique().to_pylist()]
    return [*missing, *_unique(v for chunk in column.chunks for v in chunk.dictionary.to_pylist())]


def _unique(values: Iterable[Any]) -> Iterable[Any]:
    unique: dict[Any, None] = {}
    for value in values:
        if not isinstance(value, str):
            return [value]  # the caller reports it; it may be unhashable
        unique[value] = None
    return unique
