"""Names to things. A room declares one registry; a file dropped into the room adds its entry.

The files of a room are imported at the first look-up, never when the room is, so that a help text
costs no heavy import and a new file needs no list to be edited.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
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


def written_names(room: str) -> tuple[str, ...] | None:
    """The names that a room registers, sorted, read from its files; nothing of it is imported.

    A name is read where it is written out: as the first argument of `REGISTRY.add`, `.register` or
    a function of the room called `add_...`, and as the text that begins each row of the literal
    that a loop around such a call walks over.

    Args:
        room: dotted name of the package below `lico_bench`, `models.backbones`.

    Returns:
        None where a file registers something whose name cannot be read so.
    """
    found: set[str] = set()
    for path in Path(__file__).parent.joinpath(*room.split(".")).glob("[!_]*.py"):
        names = _names_in(ast.parse(path.read_bytes()))
        if names is None:
            return None
        found |= names
    return tuple(sorted(found))


def _names_in(tree: ast.Module) -> set[str] | None:
    literals = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.For) and _registrations(node):
            rows = _rows(node.iter, literals)
            names = [_first_text(row, literals) for row in rows]
            if not names:
                return None
        elif isinstance(node, ast.Expr | ast.FunctionDef):
            # What stands in the body of a function is registered by who calls it.
            calls = _registrations(node) if isinstance(node, ast.Expr) else _decorations(node)
            names = [_first_text(call, literals) for call in calls]
        else:
            continue
        for name in names:
            if name is None:
                return None
            found.add(name)
    return found


def _registrations(node: ast.AST) -> list[ast.Call]:
    return [n for n in ast.walk(node) if isinstance(n, ast.Call) and _registers(n.func)]


def _decorations(node: ast.FunctionDef) -> list[ast.Call]:
    return [call for mark in node.decorator_list for call in _registrations(mark)]


def _registers(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr in ("add", "register")
    return isinstance(function, ast.Name) and function.id.lstrip("_").partition("_")[0] == "add"


def _rows(walked: ast.expr, literals: Mapping[str, ast.expr]) -> list[ast.expr]:
    """The rows of a tuple, list or dictionary that is written out, here or under a name."""
    if isinstance(walked, ast.Call) and isinstance(walked.func, ast.Attribute):
        walked = walked.func.value  # of `.items()`
    if isinstance(walked, ast.Name):
        walked = literals.get(walked.id, walked)
    if isinstance(walked, ast.Dict):
        return [key for key in walked.keys if key is not None]
    return list(walked.elts) if isinstance(walked, ast.Tuple | ast.List) else []


def _first_text(row: ast.expr, literals: Mapping[str, ast.expr]) -> str | None:
    """The text that a row, or a call's arguments, begin with; None where it is not written out."""
    if isinstance(row, ast.Call):
        row = next(iter([*row.args, *(word.value for word in row.keywords)]), row)
    elif isinstance(row, ast.Tuple) and row.elts:
        return _first_text(row.elts[0], literals)
    if isinstance(row, ast.Name):
        row = literals.get(row.id, row)
    return row.value if isinstance(row, ast.Constant) and isinstance(row.value, str) else None


def at_first_use(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`: the module of a name is imported when the name is first used.

    Args:
        homes: name to the module of the package that defines it.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return find


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
