"""Fixtures of the tests of the data package."""

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


@pytest.fixture(autouse=True)
def _scenes_drawn_once() -> None:
    """Draw the stand-ins anew in every test of the data."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty data root, so that no test reads the datasets of this machine."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def closed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], AbstractContextManager[None]]:
    """A context manager that makes a folder unreadable, also if the tests run as root.

    Root changes to another user for the block. This user may not be able to read the checkout, so
    cards are copied and readers imported in advance.
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
