"""Readers of untrusted text index files, and checks of their class numbers, names and paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lico_bench.data.cards import DatasetCard
from lico_bench.errors import BrokenFileError, MissingDataError


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line number, from 1, and text of each non-blank line of `path`.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is not UTF-8 text.
    """
    try:
        text = require_file(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{path}: not a text file ({error}); unpack it again") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def read_pairs(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the `<key> <value>` lines of `path` as (location for messages, key, value)."""
    for number, line in read_lines(path):
        key, _, value = line.partition(" ")
        if not value:
            raise BrokenFileError(
                f"{path}, line {number}: expected '<key> <value>', got '{line}'; unpack it again"
            )
        yield f"{path}, line {number}", key, value.strip()


def require_file(path: Path) -> Path:
    """Return `path` if it is a non-empty file.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is empty.
    """
    if not path.is_file():
        raise MissingDataError(
            f"{path}: file missing; unpack the official archive again or correct --data-root"
        )
    if path.stat().st_size == 0:
        raise BrokenFileError(f"{path}: the file is empty; unpack the official archive again")
    return path


def require_folder(path: Path) -> Path:
    """Return `path` if it is a folder.

    Raises:
        MissingDataError: if the folder does not exist.
    """
    if not path.is_dir():
        raise MissingDataError(
            f"{path}: folder missing; unpack the official archive again or correct --data-root"
        )
    return path


def safe_join(folder: Path, name: str, location: str) -> Path:
    """Return `folder / name` for an untrusted relative path `name`.

    Args:
        location: where `name` was read, for messages.

    Raises:
        BrokenFileError: for an absolute path, a path with `..`, or control characters.
    """
    pure = PurePosixPath(name.replace("\\", "/"))
    has_control = any(ord(character) < ord(" ") for character in name)
    is_outside = pure.is_absolute() or ".." in pure.parts
    if is_outside or not pure.parts or ":" in pure.parts[0] or has_control:
        raise BrokenFileError(
            f"{location}: path '{name}' leads out of {folder}; "
            "take the list from the official archive"
        )
    return folder.joinpath(*pure.parts)


def parse_label(value: Any, card: DatasetCard, location: str, *, first: int) -> int:
    """Convert a stored class number to a label from 0; the dataset counts from `first`.

    Raises:
        BrokenFileError: if it is not an integer or outside the card's classes.
    """
    try:
        label = int(value) - first
    except (TypeError, ValueError) as error:
        raise BrokenFileError(
            f"{location}: expected a class number, got {value!r}; "
            "take the list from the official archive"
        ) from error
    if not 0 <= label < len(card.class_names):
        raise BrokenFileError(
            f"{location}: class {value} is outside the {len(card.class_names)} classes of "
            f"{card.title} ({first} to {first + len(card.class_names) - 1}); "
            "take the list from the official archive"
        )
    return label


def check_class_names(
    path: Path, names: list[str], card: DatasetCard, convert: Callable[[str], str] = str
) -> None:
    """Check that the class names read from `path` equal the card's, in the same order.

    Args:
        convert: applied to each name in `names` before the comparison.

    Raises:
        BrokenFileError: names the first class that differs.
    """
    if len(names) != len(card.class_names):
        raise BrokenFileError(
            f"{path}: expected {len(card.class_names)} class names as in the card of "
            f"{card.title}, got {len(names)}; take the file from the official archive"
        )
    for number, (name, expected) in enumerate(zip(names, card.class_names, strict=True)):
        if normalise_name(convert(name)) != normalise_name(expected):
            raise BrokenFileError(
                f"{path}: class {number}: expected '{expected}' as in the card of {card.title}, "
                f"got '{name}'; take the file from the official archive or correct the card"
            )


def normalise_name(name: str) -> str:
    """Return a class name with lower case and single blanks, for comparisons."""
    return " ".join(name.replace("_", " ").casefold().split())
