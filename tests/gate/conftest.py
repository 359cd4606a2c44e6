"""What every test of the gate leaves out."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """statsmodels collects garbage with every correction, 0.1 s a time beside a loaded torch."""
    monkeypatch.setattr(gc, "collect", lambda *_: 0)
