"""`run --suite FILE`: what is typed beside the file wins, for every dataset."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lico_bench.cli.options import build_suite

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


ARM_SUITE = """
datasets = ["cifar10", "flowers"]

[arm.lico]
recipe = { learning_rate = 0.1, weight_decay = 0.001 }
objective = { beta = 0.2 }

[dataset.flowers.arm.lico]
recipe = { learning_rate = 0.05 }
"""


def suite_with(**typed):
    Path("suite.toml").write_text(ARM_SUITE, encoding="utf-8")
    return build_suite(typed, file=Path("suite.toml"), typed=set(typed), root=None)


def test_what_is_typed_wins_over_the_settings_of_an_arm():
    suite = suite_with(set_=["recipe.learning_rate=0.3", "objective.beta=1.0"])
    for dataset in suite.datasets:
        changes, options = suite.settings_of_arm("lico", dataset)
        assert changes == {"weight_decay": 0.001}
        assert options == {}
        assert suite.changes_of(dataset)["learning_rate"] == "0.3"


def test_settings_of_an_arm_that_is_not_asked_for_are_left_out():
    assert suite_with(arms="baseline,lico_mm").of_arm == {}
