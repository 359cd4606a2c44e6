"""Verdicts are many and small here."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _little_to_collect() -> Iterator[None]:
    """Keep imported modules out of the garbage collection that statsmodels starts per correction.

    It takes a tenth of a second beside torch, more than a whole verdict.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
