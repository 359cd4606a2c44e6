"""Registries: map names to methods, metrics, arms and the like, one registry per package.

Each module of the package registers its entries when imported. It is imported when one of the names
in its source is looked up, not with the package, so that a command imports only what it uses and a
new module is found without editing a list.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from lico_bench.errors import InvalidInputError, UnknownNameError

T = TypeVar("T")
Value = float | int | str | bool


class Registry(Generic[T]):
    """The entries of one kind, by lower snake case name.

    Args:
        kind: name of an entry in messages, such as `saliency method`.
        package: dotted name of the package whose modules register entries when imported.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, T] = {}
        self._searched: set[str] = set()
        self._is_filled = False

    def add(self, name: str, entry: T) -> T:
        """Register `entry` under `name` and return it; a duplicate name is an error."""
        if name in self._entries:
            raise InvalidInputError(
                f"{self.kind} '{name}' is already registered; choose a new name"
            )
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that adds an entry."""
        return lambda entry: self.add(name, entry)

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted."""
        self._import_modules()
        return tuple(sorted(self._entries))

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise UnknownNameError.of(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        if name not in self._searched:
            self._searched.add(name)
            self._import_modules(name)
        return name in self._entries or name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def _import_modules(self, name: str | None = None) -> None:
        """Import the modules that may register `name`, or all modules."""
        if self._is_filled:
            return
        self._is_filled = name is None
        for folder in importlib.import_module(self.package).__path__:
            for path in sorted(Path(folder).glob("[!_]*.py")):
                if name is None or not {name, None}.isdisjoint(_names_in(path)):
                    importlib.import_module(f"{self.package}.{path.stem}")


def registered_names(package: str) -> tuple[str, ...] | None:
    """Read the names that a package registers from its source, sorted, without importing it.

    A name must be a literal: the first argument of `REGISTRY.add`, of `.register` or of a function
    called `add_...`, or the first text in each row of the literal that a loop around such a call
    iterates over.

    Args:
        package: dotted name of the package below `lico_bench`, such as `models.backbones`.

    Returns:
        None if a module registers a name that is not a literal.
    """
    found: set[str] = set()
    for path in Path(__file__).parent.joinpath(*package.split(".")).glob("[!_]*.py"):
        for name in _names_in(path):
            if name is None:
                return None
            found.add(name)
    return tuple(sorted(found))


@cache
def _names_in(path: Path) -> frozenset[str | None]:
    """Return the names that a module registers, None among them if one is not a literal."""
    return frozenset(_registrations(ast.parse(path.read_bytes())))


def _registrations(tree: ast.Module) -> Iterator[str | None]:
    """Yield the name of each registration, None for one that is not a literal."""
    literals = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in tree.body:
        # A call in the body of a function registers only when the function is called.
        run: list[ast.AST] = [node] if isinstance(node, ast.For | ast.Expr) else []
        if isinstance(node, ast.FunctionDef):
            run = [*node.decorator_list]
        rows = [n for part in run for n in ast.walk(part) if _is_registration(n)]
        if rows and isinstance(node, ast.For):
            rows = [*_literal_rows(node.iter, literals)] or [node.iter]
        for row in rows:
            yield _first_text(row, literals)


def _is_registration(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute):
        return node.func.attr in ("add", "register")
    return isinstance(node.func, ast.Name) and node.func.id.lstrip("_").partition("_")[0] == "add"


def _literal_rows(iterable: ast.expr, literals: Mapping[str, ast.expr]) -> list[ast.expr]:
    """Return the rows of a tuple, list or dictionary literal, given directly or by name."""
    if isinstance(iterable, ast.Call) and isinstance(iterable.func, ast.Attribute):
        iterable = iterable.func.value  # of `.items()`
    if isinstance(iterable, ast.Name):
        iterable = literals.get(iterable.id, iterable)
    if isinstance(iterable, ast.Dict):
        return [key for key in iterable.keys if key is not None]
    return list(iterable.elts) if isinstance(iterable, ast.Tuple | ast.List) else []


def _first_text(row: ast.AST, literals: Mapping[str, ast.expr]) -> str | None:
    """Return the first text of a row or of a call's arguments; None if it is not a literal."""
    if isinstance(row, ast.Call):
        row = next(iter([*row.args, *(word.value for word in row.keywords)]), row)
    elif isinstance(row, ast.Tuple) and row.elts:
        return _first_text(row.elts[0], literals)
    if isinstance(row, ast.Name):
        row = literals.get(row.id, row)
    return row.value if isinstance(row, ast.Constant) and isinstance(row.value, str) else None


def lazy_getattr(package: str, module_of: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__` that imports the module of a name at its first use.

    Args:
        module_of: from each name to the module of the package that defines it.
    """

    def import_name(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)

    return import_name


def parse_call(text: str) -> tuple[str, dict[str, Value]]:
    """Parse `rise(num_masks=200)` into name and options; a plain name has no options.

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
    """Format a name with sorted options, `rise(num_masks=200)`; inverse of `parse_call`."""
    if not options:
        return name
    return f"{name}({', '.join(f'{key}={options[key]}' for key in sorted(options))})"


def parse_value(text: str) -> Value:
    """Parse a truth value or number; return any other text unchanged."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def check_options(title: str, compute: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Check that each of `options` is a keyword-only parameter of `compute`.

    Raises:
        UnknownNameError: with the list of known options.
    """
    known = keyword_defaults(compute)
    for name in options:
        if name not in known:
            raise UnknownNameError.of(f"option of {title}", name, known)


def keyword_defaults(compute: Callable[..., Any]) -> dict[str, object]:
    """Return the keyword-only parameters of a function with their defaults."""
    parameters = inspect.signature(compute).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
