"""Fixtures of the hostile-input tests; they use miniature datasets and fake runs of other tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
for _folder in ("report",):
    if str(TESTS / _folder) not in sys.path:
        sys.path.append(str(TESTS / _folder))


def everything_under(folder: Path) -> dict[str, bytes | str]:
    """Return the content of every path below a folder; for links, their target."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else (path.read_bytes() if path.is_file() else "folder")
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A folder outside the tested folders; nothing in it may change."""
    folder = tmp_path / "canary"
    folder.mkdir()
    (folder / "precious.txt").write_text("not yours")
    (folder / "sub").mkdir()
    before = everything_under(folder)
    yield folder
    assert everything_under(folder) == before


@pytest.fixture
def only_changes(tmp_path: Path) -> Callable[[Path], object]:
    """A context manager: only the given folder may change within the test's folder."""

    @contextmanager
    def watch(allowed: Path) -> Iterator[None]:
        def outside() -> dict[str, bytes | str]:
            prefix = str(allowed.relative_to(tmp_path)) + "/"
            content = everything_under(tmp_path)
            return {k: v for k, v in content.items() if not (k + "/").startswith(prefix)}

        before = outside()
        yield
        assert outside() == before

    return watch
