"""A reader of untrusted MATLAB 5 files: numbers, text, cell arrays and structures.

It replaces `scipy.io.loadmat`, which ends the process with a stack overflow on deeply nested cells
(SciPy 1.17, test_hostile_archives.py). Every length is checked against the available bytes before
memory is allocated, and only numbers and text are built.
Source: MathWorks, MAT-File Format, version 5. Files of format 7.3 are HDF5 and not supported.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lico_bench.data.index_files import require_file
from lico_bench.errors import BrokenFileError

MAX_VARIABLE_BYTES = 2**31  # per variable, decompressed; SVHN's largest has 1.6 GB of pixels
MAX_DEPTH, MAX_AXES = 16, 32
HEADER_BYTES, TAG_BYTES = 128, 8
SHAPE, FLAGS, MATRIX, COMPRESSED = 5, 6, 14, 15  # data types of elements
CELL, STRUCT, CHAR = 1, 2, 4  # array classes
NUMERIC_CLASSES = range(6, 16)
COMPLEX_FLAG = 0x0800
MAX_FIELD_NAME_BYTES = 256
BLOCK_BYTES = 2**20
NUMPY_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
TEXT_ENCODINGS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}


def read_mat(path: Path, name: str) -> NDArray[Any]:
    """Read the variable `name` of the MATLAB file `path`, squeezed to at least one axis.

    Text becomes `str`, a cell array an array of objects, a structure a record array of objects.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is damaged, of another format, or has no such variable.
    """
    require_file(path)
    try:
        matrix = _find_variable(path, name)
        if matrix is not None:
            return np.atleast_1d(np.asarray(matrix.value()))
    except (ValueError, OverflowError, MemoryError, struct.error, zlib.error) as error:
        raise BrokenFileError(
            f"{path}: not readable as a MATLAB file ({error}); unpack it again"
        ) from error
    raise BrokenFileError(f"{path}: variable '{name}' missing; unpack the official file again")


def _find_variable(path: Path, name: str) -> _Matrix | None:
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        byte_order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
        if byte_order is None:
            raise ValueError("expected a MATLAB file of format 5")
        while len(tag := file.read(TAG_BYTES)) == TAG_BYTES:
            data_type, num_bytes = struct.unpack(f"{byte_order}II", tag)
            content = file.read(num_bytes)
            if data_type == COMPRESSED:
                tag, content = _decompress(content, byte_order, name)
                data_type = struct.unpack(f"{byte_order}II", tag)[0] if tag else 0
            if data_type == MATRIX:
                matrix = _Matrix(content, byte_order)
                if matrix.name == name:
                    return matrix
    return None


def _decompress(content: bytes, byte_order: str, name: str) -> tuple[bytes, bytes]:
    """Return tag and content of a compressed element; both empty for another variable."""
    inflater = zlib.decompressobj()
    data = bytearray(inflater.decompress(content, BLOCK_BYTES))
    # Only the name: a variable of another kind (a table, an object) has another header.
    if len(data) > TAG_BYTES and _variable_name(bytes(data[TAG_BYTES:]), byte_order) != name:
        return b"", b""
    while inflater.unconsumed_tail and not inflater.eof:
        data += inflater.decompress(inflater.unconsumed_tail, BLOCK_BYTES)
        if len(data) > MAX_VARIABLE_BYTES:
            raise ValueError(
                f"expected at most {MAX_VARIABLE_BYTES:,} bytes when decompressed, got more"
            )
    return bytes(data[:TAG_BYTES]), bytes(data[TAG_BYTES:])


def _variable_name(start: bytes, byte_order: str) -> str:
    """Read the name of a variable from the first bytes of its element."""
    elements = _Elements(start, byte_order)
    elements.read_element()  # flags
    elements.read_element()  # shape
    return elements.read_name()


class _Elements:
    """The elements of a buffer in sequence; ValueError if the next is incomplete."""

    def __init__(self, content: bytes | memoryview, byte_order: str) -> None:
        self._remaining = memoryview(content)
        self._byte_order = byte_order

    def read_element(self) -> tuple[int, memoryview]:
        """Return data type and content of the next element."""
        if len(self._remaining) < TAG_BYTES:
            raise ValueError("it ends too early")
        data_type, num_bytes = struct.unpack_from(f"{self._byte_order}II", self._remaining)
        if data_type >> 16:  # a small element is stored inside its tag
            data_type, num_bytes, start, end = data_type & 0xFFFF, data_type >> 16, 4, TAG_BYTES
            if num_bytes > TAG_BYTES - start:
                raise ValueError("a small element is too long")
        else:
            start, end = TAG_BYTES, TAG_BYTES + num_bytes
            end += 0 if data_type == MATRIX else -num_bytes % 8  # padding
        if start + num_bytes > len(self._remaining):
            raise ValueError("it ends too early")
        content = self._remaining[start : start + num_bytes]
        self._remaining = self._remaining[end:]
        return data_type, content

    def read_name(self) -> str:
        """Return the next element as the name of a variable."""
        return bytes(self.read_element()[1]).rstrip(b"\0").decode("latin1")


class _Matrix(_Elements):
    """An array element: its header, and on demand its value.

    Each method raises ValueError if the content is incomplete or inconsistent.
    """

    def __init__(self, content: bytes | memoryview, byte_order: str, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            raise ValueError(f"expected at most {MAX_DEPTH} levels of nesting, got more")
        super().__init__(content, byte_order)
        self._depth = depth
        flags, self._shape = self._read_integers(FLAGS), self._read_integers(SHAPE)
        if not flags:
            raise ValueError("an array has no flags")
        if not 1 <= len(self._shape) <= MAX_AXES or min(self._shape) < 0:
            raise ValueError("an array has an invalid shape")
        self._class, self._is_complex = flags[0] & 0xFF, bool(flags[0] & COMPLEX_FLAG)
        self.name = self.read_name()

    def value(self) -> Any:
        """Return a number, a string, or a squeezed array."""
        if self._class == CHAR:
            return self._read_text()
        if self._class in NUMERIC_CLASSES and not self._is_complex:
            numbers = self._read_numbers()
            if len(numbers) != math.prod(self._shape):
                raise ValueError(f"expected shape {self._shape}, got {len(numbers):,} numbers")
            return _squeeze(numbers.reshape(self._shape, order="F"))
        if self._class == CELL:
            cells = np.empty(self._count_entries(1), dtype=object)
            for index, value in enumerate(self._read_values(len(cells))):
                cells[index] = value
            return _squeeze(cells.reshape(self._shape, order="F"))
        if self._class == STRUCT:
            return self._read_struct()
        raise ValueError(
            f"expected numbers, text, cells or structures, got array class {self._class}"
        )

    def _read_integers(self, data_type: int) -> tuple[int, ...]:
        """Return the next element, flags or a shape, as 4-byte integers."""
        found, content = self.read_element()
        if found != data_type or len(content) % 4:
            raise ValueError(f"expected integers, got an element of type {found}")
        code = "I" if data_type == FLAGS else "i"
        return struct.unpack(f"{self._byte_order}{len(content) // 4}{code}", content)

    def _read_numbers(self) -> NDArray[Any]:
        """Return the next element as numbers in native byte order."""
        data_type, content = self.read_element()
        if data_type not in NUMPY_TYPES:
            raise ValueError(f"expected numbers, got an element of type {data_type}")
        dtype = np.dtype(self._byte_order + NUMPY_TYPES[data_type])
        return np.frombuffer(content, dtype=dtype).astype(dtype.newbyteorder("="), copy=False)

    def _read_text(self) -> Any:
        """Return a string, or an array of strings for several lines."""
        if len(self._remaining) < TAG_BYTES:
            return ""
        tag = struct.unpack_from(f"{self._byte_order}I", self._remaining)[0] & 0xFFFF
        if tag in TEXT_ENCODINGS:
            suffix = "" if tag == 16 else {"<": "-le", ">": "-be"}[self._byte_order]
            text = bytes(self.read_element()[1]).decode(TEXT_ENCODINGS[tag] + suffix)
        else:
            text = "".join(map(chr, self._read_numbers().tolist()))
        if len(self._shape) != 2 or self._shape[0] <= 1:
            return text
        num_lines, width = self._shape
        if len(text) != num_lines * width:
            raise ValueError(f"expected {num_lines * width:,} characters, got {len(text):,}")
        return np.array([text[line::num_lines] for line in range(num_lines)], dtype=object)

    def _read_struct(self) -> Any:
        width = self._read_integers(SHAPE)
        names = bytes(self.read_element()[1])
        if len(width) != 1 or not 0 < width[0] <= MAX_FIELD_NAME_BYTES or len(names) % width[0]:
            raise ValueError("a structure has invalid field names")
        starts = range(0, len(names), width[0])
        fields = [names[i : i + width[0]].partition(b"\0")[0].decode("latin1") for i in starts]
        if not fields or len(set(fields)) < len(fields) or not all(fields):
            raise ValueError("a structure has invalid field names")
        dtype = [(name, object) for name in fields]
        records = np.empty(self._count_entries(len(fields)), dtype=dtype)
        values = self._read_values(len(records) * len(fields))
        for index in range(len(records)):
            records[index] = tuple(next(values) for _ in fields)
        return records.reshape(self._shape, order="F").squeeze()

    def _count_entries(self, num_fields: int) -> int:
        """Return the number of entries, checked against the available bytes."""
        count = math.prod(self._shape)
        if count * num_fields * TAG_BYTES > len(self._remaining):
            raise ValueError(f"it is too short for {count:,} entries")
        return count

    def _read_values(self, count: int) -> Iterator[Any]:
        for _ in range(count):
            data_type, content = self.read_element()
            if data_type != MATRIX:
                raise ValueError(f"expected an array, got an element of type {data_type}")
            if len(content):
                yield _Matrix(content, self._byte_order, self._depth + 1).value()
            else:
                yield np.empty(0)


def _squeeze(array: NDArray[Any]) -> Any:
    """Remove axes of length one; return the entry of an array with a single entry."""
    return array.item() if array.size == 1 else array.squeeze()
