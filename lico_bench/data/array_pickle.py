"""A pickle of arrays and plain values, read without running or building anything else.

A list of allowed names is not enough: NumPy's own parts, called with chosen arguments, read memory
that is not theirs. The names that an array's pickle uses therefore mean recorders of ours here, and
the arrays are made afterwards from what was recorded and checked.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# Kinds that hold numbers alone: truth values, whole numbers, floats.
PLAIN_KINDS = "b?uif"
ORDERS: dict[Any, Literal["<", ">", "=", "|"]] = {"<": "<", ">": ">", "=": "=", "|": "|"}
# A tuple in a tuple and so on is hashed without a guard against its depth; arrays need a few each.
MOST_TUPLES = 10_000
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")


def load_arrays(content: bytes) -> Any:
    """What `content` pickles: plain values, lists, dictionaries, and arrays of numbers in them.

    Raises:
        pickle.UnpicklingError: if it names anything else, or would take memory out of proportion.
        Exception: of nearly any kind if it is damaged.
    """
    _check_opcodes(content)
    return _made(_Recording(io.BytesIO(content), encoding="latin1").load(), {})


def _check_opcodes(content: bytes) -> None:
    """Raise unless every length is one that `content` has room for; nothing is built meanwhile."""
    num_puts = num_tuples = 0
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in _PUTS:
            num_puts += 1
            # The reader makes room for all numbers up to this one.
            if isinstance(argument, int) and argument > len(content):
                raise pickle.UnpicklingError(f"it numbers a value {argument:,}")
        num_tuples += opcode.name in _TUPLES
        if num_tuples > MOST_TUPLES:
            raise pickle.UnpicklingError(f"it holds more than {MOST_TUPLES:,} tuples")


class _Kind:
    """A NumPy dtype as a pickle tells it: a name, and the order of its bytes."""

    __slots__ = ("name", "order")

    def __init__(self, name: Any) -> None:
        self.name, self.order = name, "|"

    def __setstate__(self, state: Any) -> None:
        _version, order, subarray, names, fields, *_ = state
        if subarray is not None or names is not None or fields is not None:
            raise pickle.UnpicklingError("it holds an array of records")
        self.order = order

    def made(self) -> np.dtype[Any]:
        if not isinstance(self.name, str) or self.order not in ORDERS:
            raise pickle.UnpicklingError("it holds an array of an unknown kind")
        kind = np.dtype(self.name)
        if kind.kind not in PLAIN_KINDS or kind.names is not None or kind.subdtype is not None:
            raise pickle.UnpicklingError(f"it holds an array of '{kind}', not of numbers")
        return kind.newbyteorder(ORDERS[self.order])


class _Array:
    """An array as a pickle tells it: shape, kind and bytes."""

    __slots__ = ("content", "is_fortran", "kind", "shape")

    def __init__(self) -> None:
        self.shape: Any = None
        self.kind: Any = None
        self.is_fortran: Any = False
        self.content: Any = b""

    def __setstate__(self, state: Any) -> None:
        _version, self.shape, self.kind, self.is_fortran, self.content = state

    def made(self) -> NDArray[Any]:
        content = self.content
        if isinstance(content, str):
            content = content.encode("latin1")  # as Python 2 wrote bytes
        if not isinstance(content, bytes | bytearray) or not isinstance(self.kind, _Kind):
            raise pickle.UnpicklingError("it holds an array without bytes or kind")
        values = np.frombuffer(bytes(content), dtype=self.kind.made())
        return values.reshape(self.shape, order="F" if self.is_fortran else "C")


def _array(*_message: Any) -> _Array:
    return _Array()


def _kind(name: Any, *_message: Any) -> _Kind:
    return _Kind(name)


def _from_bytes(content: Any, kind: Any, shape: Any, order: Any, *_message: Any) -> _Array:
    found = _Array()
    found.__setstate__((1, shape, kind, order == "F", content))
    return found


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it asks for a text in another encoding than latin1")
    return text.encode("latin1")


class _Part:
    """A name that an array's pickle may use. Nothing can be set on it, unlike on a function."""

    __slots__ = ("_made",)
    _made: Any

    def __init__(self, made: Any) -> None:
        object.__setattr__(self, "_made", made)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"it changes '{name}' of what it loads")

    def __call__(self, *arguments: Any) -> Any:
        return self._made(*arguments)


# Old and new NumPy name the same function differently.
_PARTS = {
    ("numpy", "ndarray"): _Part(_array),
    ("numpy", "dtype"): _Part(_kind),
    ("_codecs", "encode"): _Part(_encoded),
} | {
    (f"{core}.{module}", name): _Part(made)
    for core in ("numpy.core", "numpy._core")
    for module, name, made in (
        ("multiarray", "_reconstruct", _array),
        ("numeric", "_frombuffer", _from_bytes),
    )
}


class _Recording(pickle.Unpickler):
    """Builds plain values and recorders of arrays; anything else that a pickle names is refused."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _PARTS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks to load {module}.{name}, which no image archive needs"
            ) from None


def _made(value: Any, known: dict[int, Any]) -> Any:
    """`value` with arrays in the place of what was recorded of them.

    Args:
        known: what was made already, by identity: a pickle may refer to one list many times.
    """
    if isinstance(value, _Array):
        return value.made()
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) in known:
        if known[id(value)] is None:
            raise pickle.UnpicklingError("it holds itself")
        return known[id(value)]
    known[id(value)] = None
    made: Any
    if isinstance(value, dict):
        made = {key: _made(one, known) for key, one in value.items()}
    else:
        made = type(value)(_made(one, known) for one in value)
    known[id(value)] = made
    return made
