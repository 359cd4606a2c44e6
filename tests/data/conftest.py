"""Fixtures of the data room."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from lico_bench.data import READERS, cards
from lico_bench.runtime import shipped

NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty data root, so that no test reads what happens to lie on this machine."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def closed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], AbstractContextManager[None]]:
    """A folder that may not be read inside the block, not even by a superuser running the tests.

    The superuser steps down for the block. The checkout may lie where nobody else may look, so
    what the block needs of it (cards, readers) is brought or imported before.
    """
    copied = tmp_path / "cards"
    copied.mkdir()
    for card in shipped("datasets").glob("*.toml"):
        shutil.copy(card, copied)
    monkeypatch.setattr(cards, "shipped", lambda _name: copied)
    READERS.names()

    @contextmanager
    def close(folder: Path) -> Iterator[None]:
        is_root = os.geteuid() == 0
        folder.chmod(0)
        if is_root:
            base = Path(tempfile.gettempdir())
            above = [parent for parent in root.parents if base in parent.parents]
            for parent in (copied, root, *above):
                parent.chmod(0o755)
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            if is_root:
                os.seteuid(0)
            folder.chmod(0o755)

    return close
