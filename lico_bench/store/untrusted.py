"""Validation of run folders from untrusted sources.

The schema of a manifest is declared at the end of this file. Names become parts of paths and table
cells, so they contain neither slashes nor control characters. No path in the folder may be a
symbolic link.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from lico_bench.checks import is_name, is_single_line, is_title
from lico_bench.errors import BrokenFileError, escape_controls

REMEDY = "it is damaged or was not written by this version; start a new run"
MAX_TEXT_LENGTH = 20_000
MAX_NUMBER = 2**53  # JSON readers disagree on larger integers
MAX_DEPTH = 12
SHOWN_LENGTH = 60  # characters of a wrong value in a message
NAME_COLUMNS = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "labels", "method", "metric",
    "protocol", "curve", "quantity",
)  # fmt: skip
TITLE_COLUMNS = ("label_name", "predicted_name", "flag")
ID_COLUMNS = ("image_id",)  # paths below a folder of images
MAX_ID_LENGTH = 4_096
MAY_BE_EMPTY = ("method", "protocol", "flag")  # method, protocol: model scores; flag: valid scores


class _SchemaError(Exception):
    """A field that does not match the schema."""


Check = Callable[[Any, str], None]


def check_manifest(manifest: Mapping[str, Any], path: Path) -> None:
    """Raise unless `manifest` matches the schema.

    Raises:
        BrokenFileError: naming the first field that does not match.
    """
    with _naming_file(path):
        _check_values(manifest, "", 0)
        _MANIFEST(manifest, "")


def check_reportable(manifest: Mapping[str, Any], path: Path) -> None:
    """Raise unless `manifest`, which passed `check_manifest`, has all fields of a report.

    Raises:
        BrokenFileError: naming the missing field.
    """
    with _naming_file(path):
        _REPORTED(manifest, "")


def check_inside(root: Path, path: Path) -> None:
    """Raise if `path` is outside `root` or is reached through a link; `root` may be a link.

    Raises:
        BrokenFileError: naming the link.
    """
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise BrokenFileError(
                f"{part}: expected a file or folder of this run, got a link; replace the link by "
                "its target, or remove it"
            )
    raise BrokenFileError(f"{path}: expected a path inside {root}; {REMEDY}")


def check_texts(path: Path, table: pd.DataFrame | pa.Table) -> None:
    """Raise unless the name, title and image-id columns of a stored table are valid.

    Raises:
        BrokenFileError: naming the file and the column.
    """
    names = table.columns if isinstance(table, pd.DataFrame) else table.column_names
    checks = ((NAME_COLUMNS, is_name), (TITLE_COLUMNS, is_title), (ID_COLUMNS, _is_id))
    for columns, is_valid in checks:
        for name in columns:
            if name in names:
                texts = list(_unique_values(table, name))
                if columns is ID_COLUMNS and _are_ids(texts):
                    continue
                for text in texts:
                    if not (is_valid(text) or (text == "" and name in MAY_BE_EMPTY)):
                        raise BrokenFileError(
                            f"{path}: column {name}: expected names on one line without control "
                            f"characters, got {_shown(text)}; {REMEDY}"
                        )


@contextmanager
def _naming_file(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """Convert a `_SchemaError` into a `BrokenFileError` that names the file."""
    try:
        yield
    except _SchemaError as error:
        raise BrokenFileError(f"{path}: {error}; {remedy}") from error


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


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else type(value).__name__
    return f"'{escape_controls(text[:SHOWN_LENGTH])}'{'…' * (len(text) > SHOWN_LENGTH)}"


def _check_values(value: Any, where: str, depth: int) -> None:
    """Raise for control characters, non-finite or too large numbers, and deep nesting."""
    if depth > MAX_DEPTH:
        raise _SchemaError(f"{where}: expected at most {MAX_DEPTH} nested levels")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not is_single_line(key) or len(key) > MAX_TEXT_LENGTH:
                raise _SchemaError(f"{where or 'manifest'}: expected plain keys, got {_shown(key)}")
            _check_values(item, f"{where}.{key}"[-SHOWN_LENGTH:].lstrip("."), depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_values(item, where, depth + 1)
    elif isinstance(value, str):
        if not is_single_line(value) or len(value) > MAX_TEXT_LENGTH:
            raise _SchemaError(f"{where}: expected text on one line, got {_shown(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise _SchemaError(f"{where}: expected a finite number, got {value}")
    elif isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise _SchemaError(f"{where}: expected a number of at most {MAX_NUMBER:,}")


def _is(expected: str, is_valid: Callable[[Any], bool]) -> Check:
    """Return a check of `is_valid`; `expected` describes a valid value."""

    def check(value: Any, where: str) -> None:
        if not is_valid(value):
            raise _SchemaError(f"{where}: expected {expected}, got {_shown(value)}")

    return check


def _list_of(check: Check) -> Check:
    """Return a check of a list whose items all pass `check`."""

    def check_list(value: Any, where: str) -> None:
        _LIST(value, where)
        for number, item in enumerate(value):
            check(item, f"{where}[{number}]")

    return check_list


def _table_of(check: Check) -> Check:
    """Return a check of a table whose keys are names and whose values all pass `check`."""

    def check_table(value: Any, where: str) -> None:
        _TABLE(value, where)
        for name, item in value.items():
            _NAME(name, f"{where}: a name")
            check(item, f"{where}.{name}")

    return check_table


def _fields(required: Mapping[str, Check], optional: Mapping[str, Check]) -> Check:
    """Return a check of a table with `required` and `optional` fields; others are allowed."""

    def check_table(value: Any, where: str) -> None:
        _TABLE(value, where)
        for name in required:
            if name not in value:
                raise _SchemaError(f"{where}.{name}: expected a value, got none".lstrip("."))
        for name, check in (*required.items(), *optional.items()):
            if name in value:
                check(value[name], f"{where}.{name}".lstrip("."))

    return check_table


def _of_type(expected: str, *types: type) -> Check:
    """Return a check of the type of a value; a bool is not a number."""
    return _is(expected, lambda value: isinstance(value, types) and (
        bool in types or not isinstance(value, bool)))  # fmt: skip


_TABLE = _of_type("a table", dict)
_LIST = _of_type("a list", list)
_TEXT = _of_type("a text", str)
_BOOL = _of_type("true or false", bool)
_COUNT = _is("a count", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0)
_NAME = _is("a name (letters, digits, no slash)", is_name)
_TITLE = _is("a title", is_title)
_OPTIONAL_TABLE = _of_type("a table or nothing", dict, type(None))
_OPTIONAL_BOOL = _of_type("true, false or nothing", bool, type(None))
_BOUND = _of_type("a number or nothing", int, float, type(None))
_PAIR = _is("two entries", lambda v: isinstance(v, list) and len(v) == 2)


def _both(first: Check, second: Check) -> Check:
    """Return a check that runs two checks."""

    def check(value: Any, where: str) -> None:
        first(value, where)
        second(value, where)

    return check


_NAMES = _list_of(_NAME)
_SUITE = _fields(
    {},
    {
        "name": _NAME, "kind": _TEXT, "profile": _TEXT, "datasets": _NAMES, "arms": _NAMES,
        "methods": _NAMES, "metrics": _NAMES, "protocol": _NAME, "seeds": _COUNT,
    },
)  # fmt: skip
_DATASET = _fields(
    {},
    {
        "name": _NAME, "title": _TITLE, "source": _is("real or standin", lambda v: v in
        ("real", "standin")), "found": _table_of(_both(_PAIR, _list_of(_COUNT))),
        "class_names": _list_of(_TITLE), "prompt_names": _list_of(_TITLE), "notes": _list_of(_TEXT),
        "image_size": _both(_PAIR, _list_of(_COUNT)), "has_regions": _BOOL, "fingerprint": _TEXT,
    },
)  # fmt: skip
_METRIC = _fields(
    {"name": _NAME, "title": _TITLE, "source": _TEXT, "unit": _TEXT,
     "higher_is_better": _OPTIONAL_BOOL, "bounds": _both(_PAIR, _list_of(_BOUND))},
    {"needs": _list_of(_TEXT), "category": _TEXT, "cost": _TEXT, "pitfalls": _TEXT,
     "protocol": _of_type("a text or nothing", str, type(None))},
)  # fmt: skip
_ENTRY = _fields({}, {"title": _TITLE, "summary": _TEXT, "source": _TEXT, "is_control": _BOOL})
_CELL = _fields(
    {
        "key": _NAME,
        "recipe": _fields(
            {"dataset": _NAME, "arm": _NAME, "seed": _COUNT},
            {"backbone": _NAME, "source": _TEXT, "labels": _of_type("a number or text", int, str)},
        ),
    },
    {"pair": _NAME, "options": _OPTIONAL_TABLE, "encoder": _OPTIONAL_TABLE},
)
_MANIFEST = _fields(
    {"suite_key": _NAME, "suite": _SUITE, "cells": _list_of(_CELL)},
    {
        "datasets": _table_of(_DATASET), "metrics": _table_of(_METRIC),
        "methods": _table_of(_ENTRY), "arms": _table_of(_ENTRY), "protocols": _table_of(_TABLE),
        "versions": _TABLE, "started": _TEXT, "left_out": _NAMES,
    },
)  # fmt: skip
_REPORTED = _fields(
    {
        "suite": _fields({"name": _NAME, "profile": _TEXT}, {}), "datasets": _TABLE,
        "metrics": _TABLE, "methods": _TABLE, "arms": _TABLE, "versions": _TABLE, "started": _TEXT,
    },
    {},
)  # fmt: skip
