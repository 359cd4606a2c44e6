"""Readers of untrusted index files: text lists, pickles and MATLAB files; checks of their entries.

- `read_pickle` reads numeric arrays and plain values. An allow-list of names is not sufficient:
  NumPy's functions read foreign memory when called with crafted arguments. The names used by
  pickles of arrays therefore map to functions of this module, which check every argument.
- `read_mat` reads files of format 5 with `scipy.io.loadmat`, which ends the process with a stack
  overflow on deeply nested cells (SciPy 1.17, test_hostile_archives.py). Size and nesting of a
  variable are therefore checked first. Files of format 7.3 are HDF5 and not supported.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
MAX_VARIABLE_BYTES = 2**31  # of a MATLAB file, decompressed; SVHN's largest has 1.6 GB of pixels
BLOCK_BYTES = 2**20
HEADER_BYTES, TAG_BYTES = 128, 8  # of a MATLAB file and of its elements
MATRIX, COMPRESSED = 14, 15  # data types of elements
# Each level of nesting starts with an element of type MATRIX whose array class is a cell array,
# structure, object, function or opaque object. SciPy ignores the 12 bytes between.
_CONTAINER = {
    "<": re.compile(rb"(?=\x0e\0\0\0.{12}[\x01-\x03\x10\x11])", re.DOTALL),
    ">": re.compile(rb"(?=\0\0\0\x0e.{15}[\x01-\x03\x10\x11])", re.DOTALL),
}


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


def read_mat(path: Path, name: str) -> NDArray[Any]:
    """Read the variable `name` of the MATLAB file `path`, squeezed to at least one axis.

    Text becomes `str`, a cell array an array of objects, a structure a record array of objects.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is damaged, of another format, or has no such variable.
    """
    content = require_file(path).read_bytes()
    try:
        variable = _find_variable(content, name)
        if variable is not None:
            from scipy.io import loadmat  # a second to import

            file: Any = io.BytesIO(content[:HEADER_BYTES] + variable)  # the stubs know paths only
            with warnings.catch_warnings(action="error"):  # SciPy warns and returns a text
                return np.atleast_1d(loadmat(file, squeeze_me=True)[name])
    except Exception as error:  # SciPy raises nearly anything
        raise BrokenFileError(
            f"{path}: not readable as a MATLAB file ({error}); unpack it again"
        ) from error
    raise BrokenFileError(f"{path}: variable '{name}' missing; unpack the official file again")


def _find_variable(content: bytes, name: str) -> bytes | None:
    """Return the element of the variable `name`, decompressed and safe to pass to SciPy."""
    byte_order = {b"IM": "<", b"MI": ">"}.get(content[126:HEADER_BYTES])
    if byte_order is None:
        raise ValueError("expected a MATLAB file of format 5")
    position = HEADER_BYTES
    while len(content) - position >= TAG_BYTES:
        data_type, num_bytes = struct.unpack_from(f"{byte_order}II", content, position)
        end = position + TAG_BYTES + num_bytes
        if data_type == COMPRESSED:
            inflater = zlib.decompressobj()
            variable = inflater.decompress(content[position + TAG_BYTES : end], BLOCK_BYTES)
            if _variable_name(variable, byte_order) == name:
                variable += inflater.decompress(inflater.unconsumed_tail, MAX_VARIABLE_BYTES)
                if inflater.unconsumed_tail:
                    raise ValueError(
                        f"expected at most {MAX_VARIABLE_BYTES:,} bytes when decompressed, got more"
                    )
        else:
            variable = content[position:end]
        if _variable_name(variable, byte_order) == name:
            _check_nesting(variable, byte_order)
            return variable
        position = end
    return None


def _check_nesting(variable: bytes, byte_order: str) -> None:
    """Check number and length of the containers in a variable, before SciPy allocates any."""
    if _CONTAINER[byte_order].match(variable) is None:
        return  # numbers or text, which SciPy reads without recursion
    for number, found in enumerate(_CONTAINER[byte_order].finditer(variable)):
        if number >= MAX_CONTAINERS:
            raise ValueError(f"it holds more than {MAX_CONTAINERS} cell arrays and structures")
        shape = _read_element(variable, found.start() + 3 * TAG_BYTES, byte_order)[0]
        num_entries = math.prod(struct.unpack(f"{byte_order}{len(shape) // 4}I", shape))
        if num_entries * TAG_BYTES > len(variable):
            raise ValueError(f"it is too short for {num_entries:,} entries")


def _variable_name(variable: bytes, byte_order: str) -> str:
    """Return the name of an array; empty for another element."""
    if struct.unpack_from(f"{byte_order}I", variable)[0] != MATRIX:
        return ""
    _shape, position = _read_element(variable, 3 * TAG_BYTES, byte_order)
    name, _ = _read_element(variable, position, byte_order)
    return name.rstrip(b"\0").decode("latin1")


def _read_element(variable: bytes, position: int, byte_order: str) -> tuple[bytes, int]:
    """Return the content of the element at `position`, and the position of the next."""
    kind, num_bytes = struct.unpack_from(f"{byte_order}II", variable, position)
    if kind >> 16:  # a small element is stored inside its tag
        start = position + 4
        return variable[start : start + (kind >> 16)], position + TAG_BYTES
    start = position + TAG_BYTES
    return variable[start : start + num_bytes], start + num_bytes + -num_bytes % 8
