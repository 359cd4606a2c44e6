"""Reading index files that strangers packed: nothing in them is executed or trusted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray

from lico_bench.data.array_pickle import load_arrays
from lico_bench.data.cards import DatasetCard
from lico_bench.data.matlab_files import MatlabError, read_variable
from lico_bench.errors import BrokenFileError, MissingDataError


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary pickled in `path`, read without running anything that is in it.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is damaged, holds something else, or asks to import anything.
    """
    try:
        value = load_arrays(need_file(path).read_bytes())
    except MissingDataError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise BrokenFileError(
            f"{path}: refused as an archive of images ({error}); unpack the official archive again"
        ) from error
    if not isinstance(value, dict) or not all(isinstance(key, str | bytes) for key in value):
        raise BrokenFileError(
            f"{path}: expected a pickled dictionary of names, got {type(value).__name__}; "
            "unpack the official archive again"
        )
    return {k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in value.items()}


def read_mat(path: Path, name: str) -> NDArray[Any]:
    """The variable `name` of the MATLAB file `path`.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is damaged or has no such variable.
    """
    try:
        found = read_variable(need_file(path), name)
    except (MatlabError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise BrokenFileError(
            f"{path}: not readable as a MATLAB file ({error}); unpack it again"
        ) from error
    if found is None:
        raise BrokenFileError(f"{path}: has no variable '{name}'; unpack the official file again")
    return found


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and lines of `path` that are not blank.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is no text.
    """
    try:
        text = need_file(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{path}: not a text file ({error}); unpack it again") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def read_pairs(path: Path) -> Iterator[tuple[str, str, str]]:
    """`<key> <value>` lines of `path` as (place for messages, key, value)."""
    for number, line in read_lines(path):
        key, _, value = line.partition(" ")
        if not value:
            raise BrokenFileError(
                f"{path}, line {number}: expected '<key> <value>', got '{line}'; unpack it again"
            )
        yield f"{path}, line {number}", key, value.strip()


def read_json_table(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        BrokenFileError: if it is no JSON object.
    """
    try:
        value = json.loads(need_file(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenFileError(f"{path}: not readable as JSON ({error}); unpack it again") from error
    if not isinstance(value, dict):
        raise BrokenFileError(f"{path}: expected a JSON object; unpack it again")
    return value


def need_file(path: Path) -> Path:
    """`path`, if it is a file that holds something.

    Raises:
        MissingDataError: if it is not there.
        BrokenFileError: if it is empty.
    """
    if not path.is_file():
        raise MissingDataError(
            f"{path}: file missing; unpack the official archive again or mend --data-root"
        )
    if path.stat().st_size == 0:
        raise BrokenFileError(f"{path}: the file is empty; unpack the official archive again")
    return path


def need_folder(path: Path) -> Path:
    """`path`, if it is a folder.

    Raises:
        MissingDataError: if it is not there.
    """
    if not path.is_dir():
        raise MissingDataError(
            f"{path}: folder missing; unpack the official archive again or mend --data-root"
        )
    return path


def inside(folder: Path, name: str, place: str) -> Path:
    """`folder / name`, where `name` was read at `place` and must not lead out of the folder.

    Raises:
        BrokenFileError: for an absolute path or one with `..`.
    """
    pure = PurePosixPath(name.replace("\\", "/"))
    is_odd = any(ord(sign) < ord(" ") for sign in name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or ":" in pure.parts[0] or is_odd:
        raise BrokenFileError(
            f"{place}: '{name}' leads out of {folder}; take the list from the official archive"
        )
    return folder.joinpath(*pure.parts)


def label_of(value: Any, card: DatasetCard, place: str, *, first: int) -> int:
    """`value` as a class number from 0, where the dataset counts from `first`.

    Raises:
        BrokenFileError: if it is no whole number or outside the card's classes.
    """
    try:
        label = int(value) - first
    except (TypeError, ValueError) as error:
        raise BrokenFileError(f"{place}: expected a class number, got {value!r}") from error
    if not 0 <= label < len(card.class_names):
        raise BrokenFileError(
            f"{place}: class {value} is outside the {len(card.class_names)} classes of "
            f"{card.title} ({first} to {first + len(card.class_names) - 1}); "
            "take the list from the official archive"
        )
    return label


def check_names(
    path: Path, found: list[str], card: DatasetCard, as_compared: Callable[[str], str] = str
) -> None:
    """Raise unless the dataset's own list of class names is the card's, in the same order.

    Raises:
        BrokenFileError: naming the first class that differs.
    """
    if len(found) != len(card.class_names):
        raise BrokenFileError(
            f"{path}: expected {len(card.class_names)} class names as in the card of "
            f"{card.title}, got {len(found)}; take the file from the official archive"
        )
    for number, (theirs, ours) in enumerate(zip(found, card.class_names, strict=True)):
        if comparable(as_compared(theirs)) != comparable(ours):
            raise BrokenFileError(
                f"{path}: class {number} is called '{theirs}' there and '{ours}' in the card of "
                f"{card.title}; take the file from the official archive or mend the card"
            )


def comparable(name: str) -> str:
    """`name` in the form in which two spellings of a class are compared."""
    return " ".join(name.replace("_", " ").casefold().split())


def folder_index(card: DatasetCard) -> dict[str, int]:
    """Class number of every name that a class folder may have: id, name or prompt name."""
    index: dict[str, int] = {}
    for names in (card.class_ids, card.class_names, card.prompt_names):
        for number, name in enumerate(names):
            index.setdefault(comparable(name), number)
    return index
