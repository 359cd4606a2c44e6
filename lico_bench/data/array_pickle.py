"""A safe reader of pickles of arrays and plain values.

An allow-list of names is not sufficient: NumPy's functions read foreign memory when called with
crafted arguments. The names used by array pickles therefore map to recorders, and the arrays are
built afterwards from the recorded and checked arguments.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

NUMERIC_KINDS = "b?uif"  # NumPy kinds of booleans, integers and floats
BYTE_ORDERS: dict[Any, Literal["<", ">", "=", "|"]] = {"<": "<", ">": ">", "=": "=", "|": "|"}
# Hashing nested tuples recurses without a depth limit; an array needs only a few tuples.
MAX_TUPLES = 10_000
_TUPLE_OPCODES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET")
_PUT_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")


def load_arrays(content: bytes) -> Any:
    """Unpickle plain values, lists, dictionaries, and numeric arrays in them.

    Raises:
        pickle.UnpicklingError: if the pickle names anything else or needs excessive memory.
        Exception: of almost any type if the pickle is damaged.
    """
    _check_opcodes(content)
    return _build_arrays(_RecordingUnpickler(io.BytesIO(content), encoding="latin1").load(), {})


def _check_opcodes(content: bytes) -> None:
    """Check memo indices and the number of tuples without building any object."""
    num_tuples = 0
    for opcode, argument, _ in pickletools.genops(content):
        # The unpickler allocates a memo of this length.
        is_put = opcode.name in _PUT_OPCODES
        if is_put and isinstance(argument, int) and argument > len(content):
            raise pickle.UnpicklingError(f"its memo index {argument:,} exceeds its size")
        num_tuples += opcode.name in _TUPLE_OPCODES
        if num_tuples > MAX_TUPLES:
            raise pickle.UnpicklingError(f"it holds more than {MAX_TUPLES:,} tuples")


class _DtypeRecorder:
    """Recorded arguments of a NumPy dtype: its name and byte order."""

    __slots__ = ("byte_order", "name")

    def __init__(self, name: Any, *_ignored: Any) -> None:
        self.name, self.byte_order = name, "|"

    def __setstate__(self, state: Any) -> None:
        _version, byte_order, subarray, names, fields, *_ = state
        if subarray is not None or names is not None or fields is not None:
            raise pickle.UnpicklingError("it holds an array of records")
        self.byte_order = byte_order

    def build(self) -> np.dtype[Any]:
        if not isinstance(self.name, str) or self.byte_order not in BYTE_ORDERS:
            raise pickle.UnpicklingError("it holds an array of an unknown type")
        dtype = np.dtype(self.name)
        if dtype.kind not in NUMERIC_KINDS or dtype.names is not None or dtype.subdtype is not None:
            raise pickle.UnpicklingError(f"it holds an array of '{dtype}', expected numbers")
        return dtype.newbyteorder(BYTE_ORDERS[self.byte_order])


class _ArrayRecorder:
    """Recorded arguments of an array: shape, dtype and bytes."""

    __slots__ = ("content", "dtype", "is_fortran", "shape")

    def __init__(self, *_ignored: Any) -> None:
        self.shape: Any = None
        self.dtype: Any = None
        self.is_fortran: Any = False
        self.content: Any = b""

    def __setstate__(self, state: Any) -> None:
        _version, self.shape, self.dtype, self.is_fortran, self.content = state

    def build(self) -> NDArray[Any]:
        content = self.content
        if isinstance(content, str):
            content = content.encode("latin1")  # Python 2 stored bytes as str
        if not isinstance(content, bytes | bytearray) or not isinstance(self.dtype, _DtypeRecorder):
            raise pickle.UnpicklingError("it holds an array without bytes or dtype")
        values = np.frombuffer(bytes(content), dtype=self.dtype.build())
        return values.reshape(self.shape, order="F" if self.is_fortran else "C")


def _record_from_buffer(
    content: Any, dtype: Any, shape: Any, order: Any, *_ignored: Any
) -> _ArrayRecorder:
    recorder = _ArrayRecorder()
    recorder.__setstate__((1, shape, dtype, order == "F", content))
    return recorder


def _encode_latin1(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it requests an encoding other than latin1")
    return text.encode("latin1")


class _AllowedCallable:
    """A callable that a pickle may use; unlike a function, it has no settable attributes."""

    __slots__ = ("_function",)
    _function: Any

    def __init__(self, function: Any) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"it sets the attribute '{name}' of a loaded name")

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


# The module names differ between NumPy 1 and 2.
_ALLOWED = {
    ("numpy", "ndarray"): _AllowedCallable(_ArrayRecorder),
    ("numpy", "dtype"): _AllowedCallable(_DtypeRecorder),
    ("_codecs", "encode"): _AllowedCallable(_encode_latin1),
} | {
    (f"{core}.{module}", name): _AllowedCallable(function)
    for core in ("numpy.core", "numpy._core")
    for module, name, function in (
        ("multiarray", "_reconstruct", _ArrayRecorder),
        ("numeric", "_frombuffer", _record_from_buffer),
    )
}


class _RecordingUnpickler(pickle.Unpickler):
    """Unpickles plain values and array recorders; rejects all other names."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks to load {module}.{name}, which no image archive needs"
            ) from None


def _build_arrays(value: Any, memo: dict[int, Any]) -> Any:
    """Replace the array recorders in `value` by arrays.

    Args:
        memo: results by object id, because a pickle may refer to one list many times.
    """
    if isinstance(value, _ArrayRecorder):
        return value.build()
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) in memo:
        if memo[id(value)] is None:
            raise pickle.UnpicklingError("it contains itself")
        return memo[id(value)]
    memo[id(value)] = None
    result: Any
    if isinstance(value, dict):
        result = {key: _build_arrays(item, memo) for key, item in value.items()}
    else:
        result = type(value)(_build_arrays(item, memo) for item in value)
    memo[id(value)] = result
    return result
