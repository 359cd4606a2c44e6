"""Reading MATLAB files that strangers made: numbers, texts, cells and structures of format 5.

A reader of our own, because SciPy's ends the process on damaged files (a wrong class of array,
values in values in values) where an error is wanted. Every length is checked against what is there
before memory is asked for, and nothing but numbers and texts is built.
Source: MathWorks, MAT-File Format, version 5. Files of format 7.3 are HDF5 and not read.
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

LARGEST_BYTES = 2**31  # of one variable, decompressed; SVHN's largest has 1.6 GB of pixels
DEEPEST = 16
HEADER_BYTES, TAG_BYTES = 128, 8
SHAPE, FLAGS, MATRIX, COMPRESSED = 5, 6, 14, 15
MOST_AXES = 32
CELL, STRUCT, CHAR = 1, 2, 4
NUMBERS = range(6, 16)  # classes of arrays of numbers
COMPLEX = 0x0800
LONGEST_FIELD = 256
BLOCK = 2**20
KINDS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
TEXTS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}


class MatlabError(ValueError):
    """What is wrong with a file, for who knows its name."""


def read_variable(path: Path, name: str) -> NDArray[Any] | None:
    """The variable `name` of a file without axes of length one; None if it has none.

    Texts are `str`; a cell is an array of objects, a structure one of records of objects.

    Raises:
        MatlabError: for a damaged file, or one of another format.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
        if order is None:
            raise MatlabError("expected a MATLAB file of format 5")
        while len(tag := file.read(TAG_BYTES)) == TAG_BYTES:
            kind, num_bytes = struct.unpack(f"{order}II", tag)
            content = file.read(num_bytes)
            if kind == COMPRESSED:
                tag, content = _unpacked(content, order, name)
                kind = struct.unpack(f"{order}II", tag)[0] if tag else 0
            if kind == MATRIX:
                matrix = _Matrix.read(_Elements(content, order))
                if matrix.name == name:
                    return np.atleast_1d(np.asarray(matrix.value(0)))
    return None


def _unpacked(content: bytes, order: str, name: str) -> tuple[bytes, bytes]:
    """Tag and content of the element in `content`; of a variable with another name, nothing."""
    try:
        inflater = zlib.decompressobj()
        made = bytearray(inflater.decompress(content, BLOCK))
        if len(made) > TAG_BYTES and _name_in(bytes(made[TAG_BYTES:]), order) != name:
            return b"", b""
        while inflater.unconsumed_tail and not inflater.eof:
            made += inflater.decompress(inflater.unconsumed_tail, BLOCK)
            if len(made) > LARGEST_BYTES:
                raise MatlabError(
                    f"expected at most {LARGEST_BYTES:,} bytes when decompressed, got more"
                )
    except zlib.error as error:
        raise MatlabError(str(error)) from error
    return bytes(made[:TAG_BYTES]), bytes(made[TAG_BYTES:])


def _name_in(start: bytes, order: str) -> str:
    """Name of the variable whose content starts so."""
    elements = _Elements(start, order)
    elements.take()
    elements.take()
    return elements.text()


class _Elements:
    """The elements in a piece of a file, one after the other.

    Raises:
        MatlabError: from each call, if the next one is not there as a whole.
    """

    def __init__(self, content: bytes | memoryview, order: str, depth: int = 0) -> None:
        if depth > DEEPEST:
            raise MatlabError(f"expected values at most {DEEPEST} deep, got more")
        self._left = memoryview(content)
        self.order = order
        self.depth = depth

    def __len__(self) -> int:
        return len(self._left)

    def take(self) -> tuple[int, memoryview]:
        """Kind and content of the next element."""
        if len(self._left) < TAG_BYTES:
            raise MatlabError("it ends too early")
        kind, num_bytes = struct.unpack_from(f"{self.order}II", self._left)
        if kind >> 16:  # a short element lies in its own tag
            kind, num_bytes, start, after = kind & 0xFFFF, kind >> 16, 4, TAG_BYTES
            if num_bytes > TAG_BYTES - start:
                raise MatlabError("a short element is too long")
        else:
            start, after = TAG_BYTES, TAG_BYTES + num_bytes
            after += 0 if kind == MATRIX else -num_bytes % 8
        if start + num_bytes > len(self._left):
            raise MatlabError("it ends too early")
        content = self._left[start : start + num_bytes]
        self._left = self._left[after:]
        return kind, content

    def whole(self, letter: str, kind: int) -> tuple[int, ...]:
        """The next element, which must be of `kind`, as whole numbers of four bytes."""
        found, content = self.take()
        if found != kind or len(content) % 4:
            raise MatlabError(f"expected an element of kind {kind}, got one of kind {found}")
        return struct.unpack(f"{self.order}{len(content) // 4}{letter}", content)

    def numbers(self) -> NDArray[Any]:
        """The next element as numbers, in this machine's order of bytes."""
        kind, content = self.take()
        if kind not in KINDS:
            raise MatlabError(f"expected numbers, got an element of kind {kind}")
        stored = np.dtype(self.order + KINDS[kind])
        if len(content) % stored.itemsize:
            raise MatlabError("a number is cut off")
        return np.frombuffer(content, dtype=stored).astype(stored.newbyteorder("="), copy=False)

    def text(self) -> str:
        """The next element as a name."""
        return bytes(self.take()[1]).rstrip(b"\0").decode("latin1")

    def letters(self) -> str:
        """The next element as text."""
        if len(self._left) >= 4:
            kind = struct.unpack_from(f"{self.order}I", self._left)[0] & 0xFFFF
            if kind in TEXTS:
                ending = "" if kind == 16 else {"<": "-le", ">": "-be"}[self.order]
                return bytes(self.take()[1]).decode(TEXTS[kind] + ending)
        return "".join(map(chr, self.numbers().tolist()))


@dataclass(frozen=True)
class _Matrix:
    """One array of a file, its content not read yet."""

    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    content: _Elements

    @classmethod
    def read(cls, elements: _Elements) -> _Matrix:
        flags, sides = elements.whole("I", FLAGS), elements.whole("i", SHAPE)
        if not flags:
            raise MatlabError("an array does not say what it is")
        if not 1 <= len(sides) <= MOST_AXES or min(sides) < 0:
            raise MatlabError("an array has no proper shape")
        return cls(flags[0] & 0xFF, bool(flags[0] & COMPLEX), sides, elements.text(), elements)

    @property
    def size(self) -> int:
        """Number of its entries."""
        return math.prod(self.shape)

    def value(self, depth: int) -> Any:
        """A number, a text, or an array without axes of length one."""
        if self.kind == CHAR:
            return self._text()
        if self.kind in NUMBERS and not self.is_complex:
            numbers = self.content.numbers()
            if len(numbers) != self.size:
                raise MatlabError(f"expected {self.size:,} numbers, got {len(numbers):,}")
            return _squeezed(numbers.reshape(self.shape, order="F"))
        if self.kind == CELL:
            return self._cell(depth)
        if self.kind == STRUCT:
            return self._records(depth)
        raise MatlabError(f"expected numbers, texts, cells or structures, got class {self.kind}")

    def _text(self) -> Any:
        if not len(self.content):
            return ""
        letters = self.content.letters()
        if len(self.shape) != 2 or self.shape[0] <= 1:
            return letters
        lines, width = self.shape
        if len(letters) != lines * width:
            raise MatlabError(f"expected {lines * width:,} letters, got {len(letters):,}")
        return np.array(["".join(letters[line::lines]) for line in range(lines)], dtype=object)

    def _cell(self, depth: int) -> Any:
        made = np.empty(self._checked_size(1), dtype=object)
        for number, one in enumerate(self._inner(len(made), depth)):
            made[number] = one
        return _squeezed(made.reshape(self.shape, order="F"))

    def _records(self, depth: int) -> Any:
        width = self.content.whole("i", SHAPE)
        names = bytes(self.content.take()[1])
        if len(width) != 1 or not 0 < width[0] <= LONGEST_FIELD or len(names) % width[0]:
            raise MatlabError("a structure has no proper names")
        step = width[0]
        fields = [names[at : at + step].partition(b"\0")[0].decode("latin1")
                  for at in range(0, len(names), step)]  # fmt: skip
        if not fields or len(set(fields)) < len(fields) or not all(fields):
            raise MatlabError("a structure has no proper names")
        made = np.empty(self._checked_size(len(fields)), dtype=[(name, object) for name in fields])
        inner = self._inner(len(made) * len(fields), depth)
        for number in range(len(made)):
            made[number] = tuple(next(inner) for _ in fields)
        return made.reshape(self.shape, order="F").squeeze()

    def _checked_size(self, num_fields: int) -> int:
        if self.size * num_fields * TAG_BYTES > len(self.content):
            raise MatlabError(f"it has no room for {self.size:,} entries")
        return self.size

    def _inner(self, count: int, depth: int) -> Iterator[Any]:
        for _ in range(count):
            kind, content = self.content.take()
            if kind != MATRIX:
                raise MatlabError(f"expected an array, got an element of kind {kind}")
            if not len(content):
                yield np.empty(0)
                continue
            yield _Matrix.read(_Elements(content, self.content.order, depth + 1)).value(depth + 1)


def _squeezed(array: NDArray[Any]) -> Any:
    """Without axes of length one; of a single entry, the entry."""
    return array.item() if array.size == 1 else array.squeeze()
