"""`lico-bench tune`: from the file of a tuning to the suites of its picks."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.bench.tuning_file import TUNING

TRIALS = 3


@pytest.fixture
def words() -> tuple[str, ...]:
    Path("space.toml").write_text(TUNING.format(data="standin", holdout="0.02"), encoding="utf-8")
    return ("tune", "space.toml", "--out", "run", "--device", "cpu")


@pytest.mark.slow
def test_a_tuning_writes_its_trials_and_suites_that_can_be_run(words, call_cli):
    done = call_cli(*words)
    assert done.returncode == 0, done.stderr
    folder = Path("run/tuning")
    assert {path.suffix for path in folder.iterdir()} == {".csv", ".toml", ".tex", ".png", ".pdf"}
    trials = pd.read_csv(folder / "trials.csv")
    assert trials.groupby("arm").size().to_dict() == {"baseline": TRIALS, "lico": TRIALS}
    for pick in ("pick", "second_pick"):
        assert f"run/tuning/{pick}.toml" in done.stdout
        planned = call_cli("run", "--suite", str(folder / f"{pick}.toml"), "--plan")
        assert planned.returncode == 0, planned.stderr
    again = call_cli(*words)
    assert again.returncode == 0
    assert again.stdout.count("already done") == 2 * TRIALS
    pd.testing.assert_frame_equal(pd.read_csv(folder / "trials.csv"), trials)


def test_a_plan_of_a_tuning_trains_nothing(words, call_cli):
    done = call_cli(*words, "--plan")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"\b{2 * TRIALS} models", done.stdout)
    assert not Path("run").exists()


def test_a_wrong_file_is_one_sentence(words, call_cli):
    Path("space.toml").write_text(TUNING.format(data="standin", holdout="1.5"), encoding="utf-8")
    done = call_cli(*words)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert not Path("run").exists()
