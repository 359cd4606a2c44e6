"""Fixtures of the data room."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty data root, so that no test reads what happens to lie on this machine."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder
