"""Miniature data sets and drawn runs of the other rooms' tests, here in hostile hands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
for _room in ("data", "report"):
    if str(TESTS / _room) not in sys.path:
        sys.path.append(str(TESTS / _room))


def everything_under(folder: Path) -> dict[str, bytes | str]:
    """Every path below a folder with what it holds, links as where they lead."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else (path.read_bytes() if path.is_file() else "folder")
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A folder outside of everything that is tested; nothing in it may change."""
    folder = tmp_path / "canary"
    folder.mkdir()
    (folder / "precious.txt").write_text("not yours")
    (folder / "sub").mkdir()
    before = everything_under(folder)
    yield folder
    assert everything_under(folder) == before


@pytest.fixture
def only_changes(tmp_path: Path) -> Callable[[Path], object]:
    """A block in which nothing of the test's folder may change but what lies in the named one."""

    @contextmanager
    def watch(allowed: Path) -> Iterator[None]:
        def outside() -> dict[str, bytes | str]:
            inside = str(allowed.relative_to(tmp_path))
            found = everything_under(tmp_path)
            return {k: v for k, v in found.items() if not (k + "/").startswith(inside + "/")}

        before = outside()
        yield
        assert outside() == before

    return watch
