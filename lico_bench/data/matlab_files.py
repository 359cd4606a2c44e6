"""A reader of untrusted MATLAB 5 files: numbers, text, cell arrays and structures.

SciPy's reader can crash the process on damaged files (wrong array class, deep nesting); this one
raises an error instead. Every length is checked against the available bytes before memory is
allocated, and only numbers and text are built.
Source: MathWorks, MAT-File Format, version 5. Files of format 7.3 are HDF5 and not supported.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_VARIABLE_BYTES = 2**31  # per variable, decompressed; SVHN's largest has 1.6 GB of pixels
MAX_DEPTH = 16
HEADER_BYTES, TAG_BYTES = 128, 8
SHAPE, FLAGS, MATRIX, COMPRESSED = 5, 6, 14, 15  # data types of elements
MAX_AXES = 32
CELL, STRUCT, CHAR = 1, 2, 4  # array classes
NUMERIC_CLASSES = range(6, 16)
COMPLEX_FLAG = 0x0800
MAX_FIELD_NAME_BYTES = 256
BLOCK_BYTES = 2**20
NUMPY_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
TEXT_ENCODINGS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}


class MatlabError(ValueError):
    """A defect of a MATLAB file; the caller adds the file name."""


def read_variable(path: Path, name: str) -> NDArray[Any] | None:
    """Read the variable `name`, squeezed to at least one axis; None if it does not exist.

    Text becomes `str`, a cell array an array of objects, a structure a record array of objects.

    Raises:
        MatlabError: if the file is damaged or of another format.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        byte_order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
        if byte_order is None:
            raise MatlabError("expected a MATLAB file of format 5")
        while len(tag := file.read(TAG_BYTES)) == TAG_BYTES:
            data_type, num_bytes = struct.unpack(f"{byte_order}II", tag)
            content = file.read(num_bytes)
            if data_type == COMPRESSED:
                tag, content = _decompress(content, byte_order, name)
                data_type = struct.unpack(f"{byte_order}II", tag)[0] if tag else 0
            if data_type == MATRIX:
                matrix = _Matrix.read(_ElementReader(content, byte_order))
                if matrix.name == name:
                    return np.atleast_1d(np.asarray(matrix.value(0)))
    return None


def _decompress(content: bytes, byte_order: str, name: str) -> tuple[bytes, bytes]:
    """Return tag and content of a compressed element; both empty for another variable."""
    try:
        inflater = zlib.decompressobj()
        data = bytearray(inflater.decompress(content, BLOCK_BYTES))
        if len(data) > TAG_BYTES and _variable_name(bytes(data[TAG_BYTES:]), byte_order) != name:
            return b"", b""
        while inflater.unconsumed_tail and not inflater.eof:
            data += inflater.decompress(inflater.unconsumed_tail, BLOCK_BYTES)
            if len(data) > MAX_VARIABLE_BYTES:
                raise MatlabError(
                    f"expected at most {MAX_VARIABLE_BYTES:,} bytes when decompressed, got more"
                )
    except zlib.error as error:
        raise MatlabError(str(error)) from error
    return bytes(data[:TAG_BYTES]), bytes(data[TAG_BYTES:])


def _variable_name(start: bytes, byte_order: str) -> str:
    """Read the variable name from the first bytes of an array element."""
    elements = _ElementReader(start, byte_order)
    elements.read_element()  # flags
    elements.read_element()  # shape
    return elements.read_name()


class _ElementReader:
    """Reads the elements of a buffer in sequence.

    Each method raises MatlabError if the next element is incomplete.
    """

    def __init__(self, content: bytes | memoryview, byte_order: str, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            raise MatlabError(f"expected at most {MAX_DEPTH} levels of nesting, got more")
        self._remaining = memoryview(content)
        self.byte_order = byte_order
        self.depth = depth

    def __len__(self) -> int:
        return len(self._remaining)

    def read_element(self) -> tuple[int, memoryview]:
        """Return data type and content of the next element."""
        if len(self._remaining) < TAG_BYTES:
            raise MatlabError("it ends too early")
        data_type, num_bytes = struct.unpack_from(f"{self.byte_order}II", self._remaining)
        if data_type >> 16:  # a small element is stored inside its tag
            data_type, num_bytes, start, end = data_type & 0xFFFF, data_type >> 16, 4, TAG_BYTES
            if num_bytes > TAG_BYTES - start:
                raise MatlabError("a small element is too long")
        else:
            start, end = TAG_BYTES, TAG_BYTES + num_bytes
            end += 0 if data_type == MATRIX else -num_bytes % 8  # padding
        if start + num_bytes > len(self._remaining):
            raise MatlabError("it ends too early")
        content = self._remaining[start : start + num_bytes]
        self._remaining = self._remaining[end:]
        return data_type, content

    def read_integers(self, format_code: str, data_type: int) -> tuple[int, ...]:
        """Return the next element, of type `data_type`, as 4-byte integers."""
        actual, content = self.read_element()
        if actual != data_type or len(content) % 4:
            raise MatlabError(f"expected an element of type {data_type}, got type {actual}")
        return struct.unpack(f"{self.byte_order}{len(content) // 4}{format_code}", content)

    def read_numbers(self) -> NDArray[Any]:
        """Return the next element as numbers in native byte order."""
        data_type, content = self.read_element()
        if data_type not in NUMPY_TYPES:
            raise MatlabError(f"expected numbers, got an element of type {data_type}")
        dtype = np.dtype(self.byte_order + NUMPY_TYPES[data_type])
        if len(content) % dtype.itemsize:
            raise MatlabError("a number is truncated")
        return np.frombuffer(content, dtype=dtype).astype(dtype.newbyteorder("="), copy=False)

    def read_name(self) -> str:
        """Return the next element as a variable name."""
        return bytes(self.read_element()[1]).rstrip(b"\0").decode("latin1")

    def read_text(self) -> str:
        """Return the next element as text."""
        if len(self._remaining) >= 4:
            tag = struct.unpack_from(f"{self.byte_order}I", self._remaining)[0]
            data_type = tag & 0xFFFF
            if data_type in TEXT_ENCODINGS:
                suffix = "" if data_type == 16 else {"<": "-le", ">": "-be"}[self.byte_order]
                return bytes(self.read_element()[1]).decode(TEXT_ENCODINGS[data_type] + suffix)
        return "".join(map(chr, self.read_numbers().tolist()))


@dataclass(frozen=True)
class _Matrix:
    """Header of one array and a reader of its content."""

    array_class: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    content: _ElementReader

    @classmethod
    def read(cls, elements: _ElementReader) -> _Matrix:
        flags = elements.read_integers("I", FLAGS)
        shape = elements.read_integers("i", SHAPE)
        if not flags:
            raise MatlabError("an array has no flags")
        if not 1 <= len(shape) <= MAX_AXES or min(shape) < 0:
            raise MatlabError("an array has an invalid shape")
        is_complex = bool(flags[0] & COMPLEX_FLAG)
        return cls(flags[0] & 0xFF, is_complex, shape, elements.read_name(), elements)

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    def value(self, depth: int) -> Any:
        """Return a number, a string, or a squeezed array."""
        if self.array_class == CHAR:
            return self._read_text()
        if self.array_class in NUMERIC_CLASSES and not self.is_complex:
            numbers = self.content.read_numbers()
            if len(numbers) != self.size:
                raise MatlabError(f"expected {self.size:,} numbers, got {len(numbers):,}")
            return _squeeze(numbers.reshape(self.shape, order="F"))
        if self.array_class == CELL:
            return self._read_cell(depth)
        if self.array_class == STRUCT:
            return self._read_struct(depth)
        raise MatlabError(
            f"expected numbers, text, cells or structures, got array class {self.array_class}"
        )

    def _read_text(self) -> Any:
        if not len(self.content):
            return ""
        text = self.content.read_text()
        if len(self.shape) != 2 or self.shape[0] <= 1:
            return text
        num_lines, width = self.shape
        if len(text) != num_lines * width:
            raise MatlabError(f"expected {num_lines * width:,} characters, got {len(text):,}")
        return np.array([text[line::num_lines] for line in range(num_lines)], dtype=object)

    def _read_cell(self, depth: int) -> Any:
        cells = np.empty(self._checked_size(1), dtype=object)
        for index, value in enumerate(self._read_values(len(cells), depth)):
            cells[index] = value
        return _squeeze(cells.reshape(self.shape, order="F"))

    def _read_struct(self, depth: int) -> Any:
        width = self.content.read_integers("i", SHAPE)
        names = bytes(self.content.read_element()[1])
        if len(width) != 1 or not 0 < width[0] <= MAX_FIELD_NAME_BYTES or len(names) % width[0]:
            raise MatlabError("a structure has invalid field names")
        step = width[0]
        fields = [names[start : start + step].partition(b"\0")[0].decode("latin1")
                  for start in range(0, len(names), step)]  # fmt: skip
        if not fields or len(set(fields)) < len(fields) or not all(fields):
            raise MatlabError("a structure has invalid field names")
        dtype = [(name, object) for name in fields]
        records = np.empty(self._checked_size(len(fields)), dtype=dtype)
        values = self._read_values(len(records) * len(fields), depth)
        for index in range(len(records)):
            records[index] = tuple(next(values) for _ in fields)
        return records.reshape(self.shape, order="F").squeeze()

    def _checked_size(self, num_fields: int) -> int:
        """Return the number of entries, checked against the available bytes."""
        if self.size * num_fields * TAG_BYTES > len(self.content):
            raise MatlabError(f"it is too short for {self.size:,} entries")
        return self.size

    def _read_values(self, count: int, depth: int) -> Iterator[Any]:
        for _ in range(count):
            data_type, content = self.content.read_element()
            if data_type != MATRIX:
                raise MatlabError(f"expected an array, got an element of type {data_type}")
            if not len(content):
                yield np.empty(0)
                continue
            elements = _ElementReader(content, self.content.byte_order, depth + 1)
            yield _Matrix.read(elements).value(depth + 1)


def _squeeze(array: NDArray[Any]) -> Any:
    """Remove axes of length one; return the entry of an array with a single entry."""
    return array.item() if array.size == 1 else array.squeeze()
