"""Readers of untrusted text lists and pickles, and checks of class numbers, names and paths.

`read_pickle` reads numeric arrays and plain values. An allow-list of names is not sufficient:
NumPy's functions read foreign memory when called with crafted arguments. The names used by pickles
of arrays therefore map to functions of this module, which check every argument.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from lico_bench.data.cards import DatasetCard
from lico_bench.errors import BrokenFileError, MissingDataError

# Hashing nested tuples recurses without a depth limit, and printing nested lists fails beyond the
# interpreter's; an index file needs few of either.
MAX_CONTAINERS = 200
_CONTAINER_OPCODES = (
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"),
    *("LIST", "EMPTY_LIST", "DICT", "EMPTY_DICT", "EMPTY_SET"),
)
_PUT_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")


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


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of arrays and plain values without executing any code in it.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is damaged, holds something else, or imports anything.
    """
    content = require_file(path).read_bytes()
    try:
        _check_opcodes(content)
        value = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise BrokenFileError(
            f"{path}: refused as an archive of images ({error}); unpack the official archive again"
        ) from error
    if not isinstance(value, dict) or not all(isinstance(key, str | bytes) for key in value):
        raise BrokenFileError(
            f"{path}: expected a pickled dictionary with string keys, got {type(value).__name__}; "
            "unpack the official archive again"
        )
    return {k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in value.items()}


def _check_opcodes(content: bytes) -> None:
    """Check memo indices and the number of containers without building any object."""
    num_containers = 0
    for opcode, argument, _ in pickletools.genops(content):
        # The unpickler allocates a memo of this length.
        is_put = opcode.name in _PUT_OPCODES
        if is_put and isinstance(argument, int) and argument > len(content):
            raise pickle.UnpicklingError(f"its memo index {argument:,} exceeds its size")
        num_containers += opcode.name in _CONTAINER_OPCODES
        if num_containers > MAX_CONTAINERS:
            raise pickle.UnpicklingError(f"it holds more than {MAX_CONTAINERS} lists and tuples")


class _PickledDtype:
    """The name and byte order of a NumPy dtype, as pickled."""

    def __init__(self, name: Any, *_ignored: Any) -> None:
        self._name = name
        self._byte_order: Any = "|"

    def __setstate__(self, state: Any) -> None:
        _version, self._byte_order, subarray, names, fields, *_ = state
        if subarray is not None or names is not None or fields is not None:
            raise pickle.UnpicklingError("it holds an array of records")

    def build(self) -> np.dtype[Any]:
        dtype = np.dtype(str(self._name))
        if dtype.kind not in "b?uif" or dtype.names is not None or dtype.subdtype is not None:
            raise pickle.UnpicklingError(f"it holds an array of '{dtype}', expected numbers")
        return dtype.newbyteorder(self._byte_order)


class _PickledArray(np.ndarray[Any, Any]):
    """An array that takes only checked content: shape, numeric dtype and bytes."""

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, is_fortran, content = state
        if isinstance(content, str):
            content = content.encode("latin1")  # Python 2 stored bytes as str
        if not isinstance(content, bytes | bytearray) or not isinstance(dtype, _PickledDtype):
            raise pickle.UnpicklingError("it holds an array without bytes or dtype")
        values = np.frombuffer(bytes(content), dtype=dtype.build())
        checked = values.reshape(shape, order="F" if is_fortran else "C")
        checked_state: Any = checked.__reduce__()[2]
        super().__setstate__(checked_state)


def _empty_array(*_ignored: Any) -> _PickledArray:
    return np.empty(0, dtype="u1").view(_PickledArray)


def _array_from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _PickledArray:
    array = _empty_array()
    array.__setstate__((1, shape, dtype, order == "F", content))
    return array


def _encode_latin1(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it requests an encoding other than latin1")
    return text.encode("latin1")


class _Allowed(NamedTuple):
    """A function that a pickle may call; a pickle can set no attribute of it."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


# The module names differ between NumPy 1 and 2.
_ALLOWED: dict[str, Any] = {
    "numpy.ndarray": "the first argument of _reconstruct, not callable",
    "numpy.dtype": _Allowed(_PickledDtype),
    "_codecs.encode": _Allowed(_encode_latin1),
} | {
    f"numpy.{core}.{name}": _Allowed(function)
    for core in ("core", "_core")
    for name, function in (
        ("multiarray._reconstruct", _empty_array),
        ("numeric._frombuffer", _array_from_buffer),
    )
}


class _Unpickler(pickle.Unpickler):
    """Unpickles plain values and numeric arrays; rejects all other names."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get(f"{module}.{name}")
        if allowed is None:
            raise pickle.UnpicklingError(
                f"it asks to load {module}.{name}, which no image archive needs"
            )
        return allowed
