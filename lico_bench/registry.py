"""Names to things. A room declares one registry; a file dropped into the room adds its entry.

The files of a room are imported at the first look-up, never when the room is, so that a help text
costs no heavy import and a new file needs no list to be edited.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from lico_bench.errors import InvalidInputError, UnknownNameError

T = TypeVar("T")


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
