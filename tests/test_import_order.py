"""Layers of the package: which package may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "lico_bench"

# A package may import packages of earlier lines only, never one of its own line.
LINES = (
    ("errors",),
    ("checks",),
    ("records", "registry", "runtime", "number_text"),
    ("data", "models", "losses"),
    ("training", "saliency", "metrics"),
    ("evaluation",),
    ("store", "stats"),
    ("claims",),
    ("bench",),
    ("gate", "report"),
    ("cli",),
)
LEVEL = {package: level for level, packages in enumerate(LINES) for package in packages}
# These modules only re-export names or start the command line.
OUTSIDE = ("__init__", "__main__")
WITHOUT_TORCH = (
    "errors", "checks", "records", "registry", "number_text", "store", "stats", "claims", "gate",
    "report",
)  # fmt: skip
HEAVY = {
    "quantus": 1,
    "captum": 1,
    "matplotlib": 1,
    "jinja2": 1,
    "ot": 1,
    "ray": 1,
}


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Dotted names that a file imports at run time, `if TYPE_CHECKING` left out."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "lico_bench":
                names.update(f"lico_bench.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(names)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if package_of(path) not in OUTSIDE)


def test_every_package_has_a_level():
    packages = {package_of(path) for path in FILES}
    assert packages <= set(LEVEL), f"give {packages - set(LEVEL)} a line in LINES"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_upwards(path: Path):
    package = package_of(path)
    for name in imports_of(path):
        if not name.startswith("lico_bench."):
            continue
        other = name.split(".")[1]
        if other == package:
            continue
        assert other in LEVEL, f"{path.name} imports the package itself: {name}"
        assert LEVEL[other] < LEVEL[package], f"{package} may not import {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_packages_without_torch_do_not_import_it(path: Path):
    if package_of(path) in WITHOUT_TORCH:
        assert not {name for name in imports_of(path) if name.split(".")[0] == "torch"}


def names_bound_by(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_defines_a_name_once(path: Path):
    """The second of two constants of one name would silently replace the first everywhere."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    definitions = [n for n in body if not isinstance(n, ast.For)]
    names = [name for node in definitions for name in names_bound_by(node)]
    assert len(names) == len(set(names)), {name for name in names if names.count(name) > 1}


@pytest.mark.parametrize("library", HEAVY)
def test_heavy_libraries_stay_in_the_one_file_that_needs_them(library: str):
    users = [p for p in FILES if any(n.split(".")[0] == library for n in imports_of(p))]
    assert len(users) <= HEAVY[library], users


@pytest.mark.parametrize(
    "statement",
    [
        "import lico_bench",
        "import lico_bench.cli",
        "import lico_bench.store",
        "import lico_bench.stats",
        "import lico_bench.gate",
        "import lico_bench.report",
        "from lico_bench import paired_differences, check",
    ],
)
def test_no_torch_until_something_needs_it(statement: str):
    code = f"{statement}; import sys; assert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_is_no_catch_all_module():
    assert not {p.name for p in FILES} & {"utils.py", "helpers.py", "common.py"}


def test_data_folders_are_no_packages():
    for folder in ("datasets", "baselines"):
        assert not (PACKAGE.parent / folder / "__init__.py").exists()
