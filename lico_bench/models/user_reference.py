"""`package.module:name` or `path/to/file.py:name`, read without running anything there: no torch.

What can be told of a user's model before its code runs is told here, at once.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

from lico_bench.errors import InvalidInputError, MissingDataError, UnknownNameError

EXAMPLES = "torchvision.models:resnet18 or path/to/file.py:build"


class Reference(NamedTuple):
    """Where a model is made: a module or a file, and the name of what makes it there."""

    place: str
    name: str

    @property
    def file(self) -> Path | None:
        """The Python file; None for a module that is imported by its name."""
        return Path(self.place) if self.place.endswith(".py") else None


def parse_reference(reference: str) -> Reference:
    """The parts of `reference`.

    Raises:
        InvalidInputError: if it is no such reference.
        MissingDataError: if the file that it names is not there.
    """
    place, colon, name = reference.rpartition(":")
    if not (place and colon and name.isidentifier()):
        raise InvalidInputError(
            f"model '{reference}': expected package.module:name or path/to/file.py:name, "
            f"such as {EXAMPLES}"
        )
    found = Reference(place, name)
    if found.file is not None and not found.file.is_file():
        raise MissingDataError(f"no such file: {found.file}; correct --model")
    return found


def check_reference(reference: str) -> None:
    """Raise if the name cannot be found in the file, as far as its text tells without running it.

    Raises:
        InvalidInputError: as `parse_reference`.
        MissingDataError: as `parse_reference`.
        UnknownNameError: for a name that the file's text never binds.
    """
    found = parse_reference(reference)
    if found.file is None:
        return
    try:
        tree = ast.parse(found.file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # importing it says more
    bound = _names_bound(tree)
    if bound is not None and found.name not in bound:
        makers = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        raise unknown_name(found, [name for name in makers if not name.startswith("_")])


def unknown_name(reference: Reference, known: list[str]) -> UnknownNameError:
    """The error for a name that is not there; a long list of those that are is left out."""
    near = UnknownNameError.of(f"name in {reference.place}:", reference.name, known)
    return near if len(known) < 30 else UnknownNameError(str(near).partition(" known: ")[0])


def _names_bound(tree: ast.Module) -> set[str] | None:
    """Names that a module may have; None where its text does not tell them all."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == "__getattr__":
                return None
            found.add(node.name)
        elif isinstance(node, ast.Name):
            if node.id in ("globals", "setattr", "exec", "vars", "locals"):
                return None
            if isinstance(node.ctx, ast.Store):
                found.add(node.id)
        elif isinstance(node, ast.alias):
            if node.name == "*":
                return None
            found.add(node.asname or node.name.partition(".")[0])
    return found
