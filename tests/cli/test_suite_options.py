"""`run --suite FILE`: what is typed beside the file wins, for every dataset."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SUITE = """
datasets = ["cifar10", "flowers"]
arms = ["baseline", "lico", "lico_mm"]
seeds = 1
profile = "smoke"
data = "standin"

[dataset.flowers]
seeds = 2
arms = ["baseline", "lico"]
"""


@pytest.fixture
def planned(call_cli):
    """The number of models that the suite asks for, with words typed beside it."""
    Path("suite.toml").write_text(SUITE)

    def plan(*words: str) -> int:
        done = call_cli("run", "--suite", "suite.toml", "--plan", *words)
        assert done.returncode == 0, done.stderr
        assert not Path("results").exists()
        return int(re.search(r"(\d+) models", done.stdout).group(1))

    return plan


@pytest.mark.parametrize(
    ("words", "models"),
    [
        ((), 1 * 3 + 2 * 2),
        (("--seeds", "3"), 3 * 3 + 3 * 2),
        (("--arms", "baseline,lico_mm"), 1 * 2 + 2 * 2),
        (("--datasets", "flowers"), 2 * 2),
        (("--datasets", "flowers", "--arms", "lico", "--seeds", "1"), 1),
    ],
)
@pytest.mark.slow
def test_what_is_typed_wins_over_the_file(planned, words, models):
    assert planned(*words) == models


def test_a_word_that_the_file_does_not_know_is_a_sentence(call_cli):
    Path("suite.toml").write_text(SUITE.replace("[dataset.flowers]", "[dataset.flower]"))
    done = call_cli("run", "--suite", "suite.toml", "--plan")
    assert done.returncode == 2
    assert "suite.toml" in done.stderr
    assert "flowers" in done.stderr
