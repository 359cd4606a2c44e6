"""The network of the published scripts."""

from __future__ import annotations

import pytest
import torch

from tests.metrics.scripted_case import Normalised


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        return Normalised().eval()
