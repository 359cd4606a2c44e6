"""Speed-up for many small verdicts."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _little_to_collect() -> Iterator[None]:
    """Keep imported modules out of the garbage collection that statsmodels starts per correction.

    With torch loaded a collection takes 0.1 s, longer than a verdict.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
