"""The scenes that the known-answer checks are tested on."""

from __future__ import annotations

import pytest

from lico_bench.evaluation.known_answers import Scene, load_scene
from lico_bench.evaluation.known_answers.cases import NUM_IMAGES_QUICK


@pytest.fixture(scope="session")
def scene() -> Scene:
    return load_scene("planted_cue", seed=0, num_images=NUM_IMAGES_QUICK)
