"""Readers of untrusted binary files: MATLAB 5 files and pickles of arrays.

`read_mat` reads numbers, text, cell arrays and structures. It replaces `scipy.io.loadmat`, which
ends the process on deeply nested cells and on unknown data types (SciPy 1.17,
test_hostile_archives.py). Every length is checked against the available bytes before memory is
allocated, and only numbers and text are built.
Source: MathWorks, MAT-File Format, version 5, little-endian as all published datasets. Files of
format 7.3 are HDF5 and not supported.

`read_pickle` reads numeric arrays and plain values. An allow-list of names is not sufficient:
NumPy's functions read foreign memory when called with crafted arguments. The names used by pickles
of arrays therefore map to functions of this module, which check every argument.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lico_bench.data.readers import require_file
from lico_bench.errors import BrokenFileError

MAX_VARIABLE_BYTES = 2**31  # per variable, decompressed; SVHN's largest has 1.6 GB of pixels
MAX_DEPTH, MAX_AXES = 16, 32
HEADER_BYTES, TAG_BYTES = 128, 8
MATRIX, COMPRESSED = 14, 15  # data types of elements
CELL, STRUCT, CHAR, NUMERIC = 1, 2, 4, range(6, 16)  # array classes
COMPLEX_FLAG = 0x0800
BLOCK_BYTES = 2**20
NUMPY_TYPES = {
    1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8",
    13: "<u8",
}  # fmt: skip
TEXT_ENCODINGS = {16: "utf-8", 17: "utf-16-le", 18: "utf-32-le"}
# Hashing nested tuples recurses without a depth limit, and printing nested lists fails beyond the
# interpreter's; an index file needs few of either.
MAX_CONTAINERS = 200  # in a pickle
_CONTAINER_OPCODES = (
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"),
    *("LIST", "EMPTY_LIST", "DICT", "EMPTY_DICT", "EMPTY_SET"),
)
_PUT_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")


def read_mat(path: Path, name: str, fields: tuple[str, ...] = ()) -> NDArray[Any]:
    """Read the variable `name` of the MATLAB file `path`, squeezed to at least one axis.

    Text becomes `str`, a cell array an array of objects, a structure a record array of objects.

    Args:
        fields: names that a structure must have.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is damaged, of another format, or has no such variable.
    """
    with require_file(path).open("rb") as file:
        try:
            variable = _find_variable(file, name)
            value = None if variable is None else np.atleast_1d(variable.read_value())
        except (ValueError, OverflowError, MemoryError, struct.error, zlib.error) as error:
            raise BrokenFileError(
                f"{path}: not readable as a MATLAB file ({error}); unpack it again"
            ) from error
    if value is None:
        raise BrokenFileError(f"{path}: variable '{name}' missing; unpack the official file again")
    missing = [field for field in fields if field not in (value.dtype.names or ())]
    if missing:
        raise BrokenFileError(
            f"{path}: fields of '{name}' missing: {', '.join(missing)}; "
            "unpack the official file again"
        )
    return value


def _find_variable(file: BinaryIO, name: str) -> _Array | None:
    if file.read(HEADER_BYTES)[126:] != b"IM":
        raise ValueError("expected a MATLAB file of format 5")
    while len(tag := file.read(TAG_BYTES)) == TAG_BYTES:
        data_type, num_bytes = struct.unpack("<II", tag)
        content = tag + file.read(num_bytes)
        if data_type == COMPRESSED:
            inflater = zlib.decompressobj()
            data = bytearray(inflater.decompress(content[TAG_BYTES:], BLOCK_BYTES))
            if _variable_name(data) != name:
                continue
            while inflater.unconsumed_tail and not inflater.eof:
                data += inflater.decompress(inflater.unconsumed_tail, BLOCK_BYTES)
                if len(data) > MAX_VARIABLE_BYTES:
                    raise ValueError(
                        f"expected at most {MAX_VARIABLE_BYTES:,} bytes when decompressed, got more"
                    )
            content = bytes(data)
        if _variable_name(content) == name:
            return _Array(content[TAG_BYTES:])
    return None


def _variable_name(start: bytes | bytearray) -> str:
    """Return the name in the first bytes of a variable, also of an unsupported kind; or ''."""
    if struct.unpack_from("<I", start)[0] != MATRIX:
        return ""
    elements = _Elements(start[TAG_BYTES:])
    elements.read()  # flags
    elements.read()  # shape
    return bytes(elements.read()[1]).rstrip(b"\0").decode("latin1")


class _Elements:
    """The elements of a buffer in sequence; ValueError if the next is incomplete."""

    def __init__(self, content: bytes | bytearray | memoryview) -> None:
        self.rest = memoryview(content)

    def read(self) -> tuple[int, memoryview]:
        """Return data type and content of the next element."""
        if len(self.rest) < TAG_BYTES:
            raise ValueError("it ends too early")
        data_type, num_bytes = struct.unpack_from("<II", self.rest)
        if data_type >> 16:  # a small element is stored inside its tag
            data_type, num_bytes, start, end = data_type & 0xFFFF, data_type >> 16, 4, TAG_BYTES
            if num_bytes > TAG_BYTES - start:
                raise ValueError("a small element is too long")
        else:
            start, end = TAG_BYTES, TAG_BYTES + num_bytes
            end += 0 if data_type == MATRIX else -num_bytes % 8  # padding
        if start + num_bytes > len(self.rest):
            raise ValueError("it ends too early")
        content, self.rest = self.rest[start : start + num_bytes], self.rest[end:]
        return data_type, content

    def read_numbers(self) -> NDArray[Any]:
        """Return the next element, which must be numbers."""
        data_type, content = self.read()
        if data_type not in NUMPY_TYPES:
            raise ValueError(f"expected numbers, got an element of type {data_type}")
        return np.frombuffer(content, dtype=NUMPY_TYPES[data_type])


class _Array(_Elements):
    """The elements of one array: flags, shape, name and content.

    Each method raises ValueError if the content is incomplete or inconsistent.
    """

    def __init__(self, content: bytes | memoryview, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            raise ValueError(f"expected at most {MAX_DEPTH} levels of nesting, got more")
        super().__init__(content)
        self._depth = depth
        flags, shape = (tuple(map(int, self.read_numbers())) for _ in ("flags", "shape"))
        if not flags or not 1 <= len(shape) <= MAX_AXES or min(shape) < 0:
            raise ValueError("an array has no flags or an invalid shape")
        self._class, self._is_complex = flags[0] & 0xFF, bool(flags[0] & COMPLEX_FLAG)
        self._shape = shape
        self.read()  # name

    def read_value(self) -> Any:
        """Return a number, a string, or a squeezed array."""
        if self._class == CHAR:
            return self._read_text()
        if self._class in NUMERIC and not self._is_complex:
            values = self.read_numbers()
        elif self._class == CELL:
            values = self._read_arrays(math.prod(self._shape))
        elif self._class == STRUCT:
            values = self._read_records()
        else:
            raise ValueError(
                f"expected numbers, text, cells or structures, got array class {self._class}"
            )
        if len(values) != math.prod(self._shape):
            raise ValueError(f"expected shape {self._shape}, got {len(values):,} numbers")
        is_single = len(values) == 1 and self._class != STRUCT
        return values.item() if is_single else values.reshape(self._shape, order="F").squeeze()

    def _read_text(self) -> str:
        if not len(self.rest):
            return ""
        encoding = TEXT_ENCODINGS.get(struct.unpack_from("<H", self.rest)[0])
        if encoding is None:
            return "".join(map(chr, self.read_numbers().tolist()))
        return bytes(self.read()[1]).decode(encoding)

    def _read_arrays(self, count: int) -> NDArray[Any]:
        """Read nested arrays; their number is checked against the available bytes."""
        if count * TAG_BYTES > len(self.rest):
            raise ValueError(f"it is too short for {count:,} entries")
        values = np.empty(count, dtype=object)
        for index in range(count):
            data_type, content = self.read()
            if data_type != MATRIX:
                raise ValueError(f"expected an array, got an element of type {data_type}")
            if len(content):
                values[index] = _Array(content, self._depth + 1).read_value()
            else:
                values[index] = np.empty(0)
        return values

    def _read_records(self) -> NDArray[Any]:
        width, names = int(self.read_numbers().item()), bytes(self.read()[1])
        starts = range(0, len(names), max(1, width))
        fields = [names[i : i + width].partition(b"\0")[0].decode("latin1") for i in starts]
        if not fields or len(set(fields)) < len(fields) or not all(fields):
            raise ValueError("a structure has invalid field names")
        values = self._read_arrays(math.prod(self._shape) * len(fields))
        records = np.empty(math.prod(self._shape), dtype=[(name, object) for name in fields])
        for row, start in enumerate(range(0, len(values), len(fields))):
            records[row] = tuple(values[start : start + len(fields)])
        return records


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
