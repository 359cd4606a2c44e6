"""Names to things. A room declares one registry; a file dropped into the room adds its entry.

The files of a room are imported at the first look-up, never when the room is, so that a help text
costs no heavy import and a new file needs no list to be edited.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from lico_bench.errors import InvalidInputError, UnknownNameError

T = TypeVar("T")
Value = float | int | str | bool


class Registry(Generic[T]):
    """The entries of one kind, by lower snake case name.

    Args:
        kind: what an entry is called in messages, `saliency method`.
        room: dotted name of the package whose modules register entries when imported.
    """

    def __init__(self, kind: str, room: str) -> None:
        self.kind = kind
        self.room = room
        self._entries: dict[str, T] = {}
        self._is_filled = False

    def add(self, name: str, entry: T) -> T:
        """Register `entry` under `name` and return it; a taken name is an error."""
        if name in self._entries:
            raise InvalidInputError(
                f"{self.kind} '{name}' is already registered; choose a new name"
            )
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""
        return lambda entry: self.add(name, entry)

    def names(self) -> tuple[str, ...]:
        """All known names, sorted."""
        self._fill()
        return tuple(sorted(self._entries))

    def __getitem__(self, name: str) -> T:
        self._fill()
        if name not in self._entries:
            raise UnknownNameError.of(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        self._fill()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def _fill(self) -> None:
        if self._is_filled:
            return
        self._is_filled = True
        package = importlib.import_module(self.room)
        for module in pkgutil.iter_modules(package.__path__, f"{self.room}."):
            importlib.import_module(module.name)


def parse_call(text: str) -> tuple[str, dict[str, Value]]:
    """`rise(num_masks=200)` as its name and options; a bare name has none.

    Raises:
        InvalidInputError: for anything that is not NAME or NAME(OPTION=VALUE, ...).
    """
    matched = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text, flags=re.DOTALL)
    if matched is None:
        raise InvalidInputError(f"'{text}': expected a name, or name(option=value, ...)")
    options: dict[str, Value] = {}
    for part in filter(None, map(str.strip, (matched[2] or "").split(","))):
        name, equals, value = map(str.strip, part.partition("="))
        if not (equals and name.isidentifier() and value):
            raise InvalidInputError(f"'{text}': expected option=value, got '{part}'")
        options[name] = parse_value(value)
    return matched[1], options


def format_call(name: str, options: Mapping[str, Value]) -> str:
    """The one way to write a name with options, `rise(num_masks=200)`."""
    if not options:
        return name
    return f"{name}({', '.join(f'{key}={options[key]}' for key in sorted(options))})"


def parse_value(text: str) -> Value:
    """A number or truth value where `text` is one, else the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def check_options(what: str, compute: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise unless each of `options` is a keyword that `compute` takes by name.

    Raises:
        UnknownNameError: which names what it does take.
    """
    known = keyword_defaults(compute)
    for name in options:
        if name not in known:
            raise UnknownNameError.of(f"option of {what}", name, known)


def keyword_defaults(compute: Callable[..., Any]) -> dict[str, Any]:
    """The keyword-only parameters of a function with their defaults: its rules."""
    parameters = inspect.signature(compute).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
