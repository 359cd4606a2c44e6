"""A run folder from somebody else: whatever it says is looked at before anything believes it.

What a manifest must look like is declared below, field by field. Names become parts of paths and
cells of tables, so they hold no slash and no control sign; nothing in the folder may be a link that
leads out of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from lico_bench.checks import is_name, is_plain, is_title
from lico_bench.errors import BrokenFileError, plain

REMEDY = "it is damaged or was not written by this version; start a new run"
LONGEST_TEXT = 20_000
LARGEST_NUMBER = 2**53  # above it JSON readers disagree
DEEPEST = 12
SHOWN = 60  # signs of a wrong value
NAME_COLUMNS = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "labels", "method", "metric",
    "protocol", "curve", "quantity",
)  # fmt: skip
TITLE_COLUMNS = ("label_name", "predicted_name", "flag")
ID_COLUMNS = ("image_id",)  # paths below a folder of images
LONGEST_ID = 4_096
MAY_BE_EMPTY = ("method", "protocol", "flag")  # of the model's own scores; of an ordinary score


class _WrongError(Exception):
    """What is wrong, and where, while a manifest is walked through."""


Check = Callable[[Any, str], None]


def check_manifest(manifest: Mapping[str, Any], path: Path) -> None:
    """Raise unless `manifest` is one that every reader of it can use.

    Raises:
        BrokenFileError: naming the first field that is not as expected.
    """
    with _message_of(path):
        _plain_values(manifest, "", 0)
        _MANIFEST(manifest, "")


def check_reportable(manifest: Mapping[str, Any], path: Path) -> None:
    """Raise unless `manifest`, which was checked, says all that a report shows.

    Raises:
        BrokenFileError: naming what is missing.
    """
    with _message_of(path):
        _REPORTED(manifest, "")


def check_failure(failure: Any, path: Path) -> None:
    """Raise unless `failure`, the content of a cell's `failed.json`, says where and why.

    Raises:
        BrokenFileError: naming the first field that is not as expected.
    """
    with _message_of(path, "remove it and repeat the command"):
        _FAILED(failure, "failure")


def check_facts(facts: Any, path: Path) -> None:
    """Raise unless `facts`, the content of a finished cell's `done.json`, can be used.

    Raises:
        BrokenFileError: naming the first field that is not as expected.
    """
    with _message_of(path):
        _plain_values(facts, "", 0)
        _DONE(facts, "facts")


def check_findings(findings: Any, path: Path) -> None:
    """Raise unless `findings`, what an objective says of itself, is a table with lists of words.

    Raises:
        BrokenFileError: naming the first field that is not as expected.
    """
    with _message_of(path):
        _FINDINGS(findings, "findings")


def check_inside(root: Path, path: Path) -> None:
    """Raise if `path` lies outside of `root` or is reached through a link; `root` may be one.

    Raises:
        BrokenFileError: naming the link.
    """
    for place in (path, *path.parents):
        if place == root:
            return
        if place.is_symlink():
            raise BrokenFileError(
                f"{place}: expected a file or folder of this run, got a link; put what it leads "
                "to in its place, or remove it"
            )
    raise BrokenFileError(f"{path}: expected a path inside {root}; {REMEDY}")


def check_texts(path: Path, table: pd.DataFrame | pa.Table) -> None:
    """Raise unless the columns of names and titles of a stored table hold such.

    Raises:
        BrokenFileError: naming the file and the column.
    """
    names = table.columns if isinstance(table, pd.DataFrame) else table.column_names
    kinds = ((NAME_COLUMNS, is_name), (TITLE_COLUMNS, is_title), (ID_COLUMNS, _is_id))
    for columns, is_fine in kinds:
        for name in columns:
            if name in names:
                texts = list(_distinct(table, name))
                if columns is ID_COLUMNS and _are_ids(texts):
                    continue
                for text in texts:
                    if not (is_fine(text) or (text == "" and name in MAY_BE_EMPTY)):
                        raise BrokenFileError(
                            f"{path}: column {name}: expected names on one line without control "
                            f"signs, got {_shown(text)}; {REMEDY}"
                        )


@contextmanager
def _message_of(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """What is found to be wrong inside the block, as an error that names the file."""
    try:
        yield
    except _WrongError as wrong:
        raise BrokenFileError(f"{path}: {wrong}; {remedy}") from wrong


def _is_id(text: Any) -> bool:
    return is_plain(text) and 0 < len(text) <= LONGEST_ID


def _are_ids(texts: list[Any]) -> bool:
    """Whether all are, found out in one look: a run has millions."""
    if not all(isinstance(text, str) for text in texts):
        return False
    lengths = [len(text) for text in texts]
    is_fitting = not texts or 0 < min(lengths) <= max(lengths) <= LONGEST_ID
    return is_fitting and is_plain("".join(texts))


def _distinct(table: pd.DataFrame | pa.Table, name: str) -> Iterable[Any]:
    """Every value of a column; of one that numbers its texts, those that it numbers."""
    if isinstance(table, pd.DataFrame):
        column = table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            return [*column.cat.categories, *([None] if column.isna().any() else [])]
        return [] if column.empty else _unique(column.tolist())
    found = table.column(name)
    lost = [None] if found.null_count else []
    if not pa.types.is_dictionary(found.type):
        return [*lost, *found.unique().to_pylist()]
    return [*lost, *_unique(v for chunk in found.chunks for v in chunk.dictionary.to_pylist())]


def _unique(values: Iterable[Any]) -> Iterable[Any]:
    kept: dict[Any, None] = {}
    for value in values:
        if not isinstance(value, str):
            return [value]  # told; it may be of a kind that cannot be compared
        kept[value] = None
    return kept


def _shown(value: Any) -> str:
    message = value if isinstance(value, str) else type(value).__name__
    return f"'{plain(message[:SHOWN])}'{'…' * (len(message) > SHOWN)}"


def _plain_values(value: Any, where: str, depth: int) -> None:
    """Texts without control signs, numbers that are numbers, nothing too deep."""
    if depth > DEEPEST:
        raise _WrongError(f"{where}: expected values at most {DEEPEST} deep")
    if isinstance(value, Mapping):
        for key, one in value.items():
            if not is_plain(key) or len(key) > LONGEST_TEXT:
                raise _WrongError(f"{where or 'manifest'}: expected plain keys, got {_shown(key)}")
            _plain_values(one, f"{where}.{key}"[-SHOWN:].lstrip("."), depth + 1)
    elif isinstance(value, list):
        for one in value:
            _plain_values(one, where, depth + 1)
    elif isinstance(value, str):
        if not is_plain(value) or len(value) > LONGEST_TEXT:
            raise _WrongError(f"{where}: expected text on one line, got {_shown(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise _WrongError(f"{where}: expected a finite number, got {value}")
    elif isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise _WrongError(f"{where}: expected a number of at most {LARGEST_NUMBER:,}")


def _is(what: str, holds: Callable[[Any], bool]) -> Check:
    def check(value: Any, where: str) -> None:
        if not holds(value):
            raise _WrongError(f"{where}: expected {what}, got {_shown(value)}")

    return check


def _all(check: Check) -> Check:
    """A list whose entries all pass `check`."""

    def walk(value: Any, where: str) -> None:
        _LIST(value, where)
        for number, one in enumerate(value):
            check(one, f"{where}[{number}]")

    return walk


def _named(check: Check) -> Check:
    """A table by name whose entries all pass `check`."""

    def walk(value: Any, where: str) -> None:
        _TABLE(value, where)
        for name, one in value.items():
            _NAME(name, f"{where}: a name")
            check(one, f"{where}.{name}")

    return walk


def _fields(needed: Mapping[str, Check], may: Mapping[str, Check]) -> Check:
    """A table with the fields `needed`, and those of `may` as they say where they are there."""

    def walk(value: Any, where: str) -> None:
        _TABLE(value, where)
        for name in needed:
            if name not in value:
                raise _WrongError(f"{where}.{name}: expected a value, got none".lstrip("."))
        for name, check in (*needed.items(), *may.items()):
            if name in value:
                check(value[name], f"{where}.{name}".lstrip("."))

    return walk


def _either(what: str, *kinds: type) -> Check:
    """A value of one of `kinds`; a truth value is no number."""
    return _is(what, lambda value: isinstance(value, kinds) and (
        bool in kinds or not isinstance(value, bool)))  # fmt: skip


_TABLE = _either("a table", dict)
_LIST = _either("a list", list)
_TEXT = _either("a text", str)
_TRUTH = _either("true or false", bool)
_COUNT = _is("a count", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0)
_NAME = _is("a name (letters, digits, no slash)", is_name)
_TITLE = _is("a title", is_title)
_MAYBE_TABLE = _either("a table or nothing", dict, type(None))
_MAYBE_TRUTH = _either("true, false or nothing", bool, type(None))
_BOUND = _either("a number or nothing", int, float, type(None))
_PAIR = _is("two entries", lambda v: isinstance(v, list) and len(v) == 2)


def _both(first: Check, second: Check) -> Check:
    def check(value: Any, where: str) -> None:
        first(value, where)
        second(value, where)

    return check


_NAMES = _all(_NAME)
_NUMBER = _is("a number of at least 0", lambda v: isinstance(v, int | float)
              and not isinstance(v, bool) and v >= 0)  # fmt: skip
_DONE = _fields(
    {},
    {
        "undefined_metrics": _NAMES, "rows": _COUNT, "elapsed_s": _NUMBER, "device": _TEXT,
        "inference": _fields({"parameters": _NUMBER, "gigaflop": _NUMBER}, {}),
    },
)  # fmt: skip
_WORD = _fields({"word": _TEXT, "cosine": _either("a number", int, float)}, {})
_FINDINGS = _fields({}, {"context_words": _all(_all(_WORD))})
_PLAIN = _is("text on one line", is_plain)
_FAILED = _fields({"stage": _PLAIN, "sentence": _PLAIN}, {})
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
        ("real", "standin")), "found": _named(_both(_PAIR, _all(_COUNT))),
        "class_names": _all(_TITLE), "prompt_names": _all(_TITLE), "notes": _all(_TEXT),
        "image_size": _both(_PAIR, _all(_COUNT)), "has_regions": _TRUTH, "fingerprint": _TEXT,
    },
)  # fmt: skip
_METRIC = _fields(
    {"name": _NAME, "title": _TITLE, "source": _TEXT, "unit": _TEXT,
     "higher_is_better": _MAYBE_TRUTH, "bounds": _both(_PAIR, _all(_BOUND))},
    {"needs": _all(_TEXT), "category": _TEXT, "cost": _TEXT, "pitfalls": _TEXT,
     "protocol": _either("a text or nothing", str, type(None))},
)  # fmt: skip
_ENTRY = _fields({}, {"title": _TITLE, "summary": _TEXT, "source": _TEXT, "is_control": _TRUTH})
_CELL = _fields(
    {
        "key": _NAME,
        "recipe": _fields(
            {"dataset": _NAME, "arm": _NAME, "seed": _COUNT},
            {"backbone": _NAME, "source": _TEXT, "labels": _either("a number or text", int, str)},
        ),
    },
    {"pair": _NAME, "options": _MAYBE_TABLE, "encoder": _MAYBE_TABLE},
)
_MANIFEST = _fields(
    {"suite_key": _NAME, "suite": _SUITE, "cells": _all(_CELL)},
    {
        "datasets": _named(_DATASET), "metrics": _named(_METRIC), "methods": _named(_ENTRY),
        "arms": _named(_ENTRY), "protocols": _named(_TABLE), "versions": _TABLE, "started": _TEXT,
        "left_out": _NAMES,
    },
)  # fmt: skip
_REPORTED = _fields(
    {
        "suite": _fields({"name": _NAME, "profile": _TEXT}, {}), "datasets": _TABLE,
        "metrics": _TABLE, "methods": _TABLE, "arms": _TABLE, "versions": _TABLE, "started": _TEXT,
    },
    {},
)  # fmt: skip
