"""Parse and check `package.module:name` or `path/to/file.py:name` without running its code.

Errors in the reference of a user model are found here, before torch is imported.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

from lico_bench.errors import InvalidInputError, MissingDataError, UnknownNameError

EXAMPLES = "torchvision.models:resnet18 or path/to/file.py:build"


class Reference(NamedTuple):
    """Source of a user model: a module name or file path, and the name of its factory."""

    source: str
    name: str

    @property
    def file(self) -> Path | None:
        """The Python file; None for a module that is imported by name."""
        return Path(self.source) if self.source.endswith(".py") else None


def parse_reference(reference: str) -> Reference:
    """Parse `reference`.

    Raises:
        InvalidInputError: for an invalid reference.
        MissingDataError: if its file does not exist.
    """
    source, colon, name = reference.rpartition(":")
    if not (source and colon and name.isidentifier()):
        raise InvalidInputError(
            f"model '{reference}': expected package.module:name or path/to/file.py:name, "
            f"such as {EXAMPLES}"
        )
    parsed = Reference(source, name)
    if parsed.file is not None and not parsed.file.is_file():
        raise MissingDataError(f"no such file: {parsed.file}; correct --model")
    return parsed


def check_reference(reference: str) -> None:
    """Check that the source of the file binds the name, without running it.

    Raises:
        InvalidInputError: as `parse_reference`.
        MissingDataError: as `parse_reference`.
        UnknownNameError: for a name that the source never binds.
    """
    parsed = parse_reference(reference)
    if parsed.file is None:
        return
    try:
        tree = ast.parse(parsed.file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # the import reports the error with more detail
    bound = _names_bound(tree)
    if bound is not None and parsed.name not in bound:
        defined = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        raise unknown_name(parsed, [name for name in defined if not name.startswith("_")])


def unknown_name(reference: Reference, known: list[str]) -> UnknownNameError:
    """Build the error for a missing name; a long list of known names is omitted."""
    error = UnknownNameError.of(f"name in {reference.source}:", reference.name, known)
    return error if len(known) < 30 else UnknownNameError(str(error).partition(" known: ")[0])


def _names_bound(tree: ast.Module) -> set[str] | None:
    """Return the names that a module may define; None if the source does not determine them."""
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
