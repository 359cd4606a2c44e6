"""Trials of every arm with one budget, judged on images held out of train."""

from __future__ import annotations

import pickle
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lico_bench.bench import ExecutorOptions, execute, make_plan
from lico_bench.bench.suite import read_suite
from lico_bench.bench.tuning import (
    TuningResult,
    best_trials,
    picked_suite,
    plan_trials,
    read_tuning,
    trial_table,
)
from lico_bench.data import load_card
from lico_bench.errors import LicoBenchError, MissingDataError

TUNING = """
datasets = ["cifar10"]
arms = ["baseline", "lico"]
profile = "smoke"
data = "{data}"
limit = 2
metrics = ["insertion", "deletion", "overall"]

[recipe]
train_limit = 60
epochs = 1
batch_size = 20
text_encoder = "random"

[tune]
trials = 3
holdout = 0.2
second_pick = {{ accuracy = 1.0, overall = 2.0 }}

[space]
"recipe.learning_rate" = {{ low = 0.01, high = 0.5, scale = "log" }}

[space.lico]
"objective.beta" = {{ values = [0.1, 1.0] }}
"""


def tuning(data: str = "standin", *, old: str = "", new: str = ""):
    """The tuning of the file above, with one part of its text replaced."""
    text = TUNING.format(data=data)
    assert old in text
    Path("space.toml").write_text(text.replace(old, new) if old else text, encoding="utf-8")
    return read_tuning(Path("space.toml"))


def test_trial_k_has_the_same_rate_in_every_arm_and_the_first_is_the_suite_itself():
    plan = plan_trials(tuning())
    rates = {
        arm: [cell.recipe.learning_rate for cell in plan.cells if cell.arm == arm]
        for arm in ("baseline", "lico")
    }
    assert rates["baseline"] == rates["lico"]
    assert len(set(rates["lico"])) == 3
    assert all(0.01 <= rate <= 0.5 for rate in rates["lico"][1:])
    assert rates["lico"][0] == make_plan(plan.suite).cells[0].recipe.learning_rate
    assert [plan.trial_of[cell.key] for cell in plan.cells] == [0, 1, 2, 0, 1, 2]
    assert plan_trials(tuning()).key == plan.key
    other = plan_trials(replace(tuning(), seed=1))
    assert other.cells[0].recipe == plan.cells[0].recipe
    assert other.cells[1].recipe != plan.cells[1].recipe


def test_all_trials_of_a_seed_share_data_order_and_initial_weights():
    plan = plan_trials(tuning())
    assert len({cell.pair for cell in plan.cells}) == 1
    assert {cell.recipe.holdout for cell in plan.cells} == {0.2}


RATE = '"recipe.learning_rate" = { low = 0.01, high = 0.5, scale = "log" }'
BETA = '"objective.beta" = { values = [0.1, 1.0] }'


def test_trials_differ_from_each_other_and_a_small_space_is_refused():
    values = '"recipe.weight_decay" = { values = [0.0, 0.001, 0.01] }'
    plan = plan_trials(replace(tuning(old=RATE, new=values), trials=4))
    decays = [cell.recipe.weight_decay for cell in plan.cells if cell.arm == "baseline"]
    assert sorted(decays) == [0.0, 5e-4, 0.001, 0.01]  # and the suite's own
    with pytest.raises(LicoBenchError, match="4 different settings for 5 trials"):
        plan_trials(replace(tuning(old=RATE, new=values), trials=5))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials = 3", "", "expected the number of trials per arm, got none"),
        ("trials = 3", "trials = 0", "trials"),
        ("trials = 3", "budget = 3", "unknown setting of .tune. 'budget'"),
        ("holdout = 0.2", "holdout = 0.6", r"expected a share in \(0, 0.5\], got 0.6"),
        ("holdout = 0.2", "holdout = '0.2'", "holdout: expected a number"),
        ("overall = 2.0", "pointing_game = 2.0", "unknown metric of a pick 'pointing_game'"),
        (RATE, "", "different settings for 3 trials"),
        ("overall = 2.0", "deletion = 2.0", "lower is better; expected a negative weight"),
        ("overall = 2.0", "insertion = -2.0", "higher is better; expected a positive weight"),
        ("overall = 2.0", "overall = 0", "expected a weight other than 0"),
        ("overall = 2.0", "overall = nan", "expected a weight other than 0"),
        (f"{RATE}\n\n[space.lico]\n{BETA}", "", "expected at least one option, got none"),
        (RATE, RATE.replace("learning_rate", "learning_rat"), "did you mean 'learning_rate'"),
        (RATE, RATE.replace("recipe.learning_rate", "recipe.epochs"), "unknown recipe option"),
        (RATE, RATE.replace("recipe", "suite"), "expected recipe.NAME or objective.NAME"),
        (RATE, RATE.replace("0.5", "0.005"), "expected low < high"),
        (RATE, RATE.replace("0.01", "0"), "a log scale needs low > 0"),
        (RATE, RATE.replace("log", "ln"), "ln"),
        (RATE, RATE.replace("scale", "step"), "unknown setting of space"),
        (BETA, BETA.replace("[0.1, 1.0]", "[]"), "with at least one"),
        (BETA, BETA.replace("beta", "betta"), "did you mean 'beta'"),
        (BETA, BETA.replace("[0.1, 1.0]", "['much']"), "expected float"),
        ("[space.lico]", "[space.licoo]", "did you mean 'lico'"),
        ("datasets", "datasetz", "unknown setting 'datasetz'"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_name(old: str, new: str, message: str):
    with pytest.raises(LicoBenchError, match=message):
        plan_trials(tuning(old=old, new=new))


@pytest.fixture
def cifar10_without_test() -> Path:
    """A small CIFAR-10 whose test file cannot be read."""
    folder = Path("data/cifar10/cifar-10-batches-py")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(1, 6):
        images = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        batch = {"data": images, "labels": [i % 10 for i in range(20)]}
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(batch))
    names = {"label_names": list(load_card("cifar10").class_names)}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))
    (folder / "test_batch").write_bytes(b"not a pickle")
    return Path("data")


def test_a_tuning_never_reads_the_test_split_and_resumes(cifar10_without_test, reporter):
    plan = plan_trials(tuning("real"), root=cifar10_without_test, device="cpu")
    assert plan.datasets["cifar10"].found == {"train": (80, 50_000), "test": (20, 20)}
    options = ExecutorOptions(device="cpu")
    run = execute(plan, Path("run"), options=options, reporter=reporter)
    assert not run.failures()
    assert {name.partition("/")[0] for name in run.rows().image_id} == {"train"}
    (run.cell(plan.cells[4].key).path / "done.json").unlink()
    with pytest.raises(MissingDataError, match="1 of 6 trials are unfinished"):
        trial_table(plan, run)
    again = execute(plan, Path("run"), options=options, reporter=reporter)
    assert len(reporter.of("skip")) == 5
    table = trial_table(plan, again)
    assert list(table.groupby("arm").size()) == [3, 3]  # the same budget
    assert (table.second_pick - table.accuracy - 2 * table.overall).abs().max() < 1e-9
    result = TuningResult.of(plan, again)
    result.write(Path("tuning"))
    names = ["pick.toml", "second_pick.toml", "trials.csv"]
    assert sorted(path.name for path in Path("tuning").iterdir()) == names
    chosen = result.picks["pick"].set_index("arm")
    suite = read_suite(Path("tuning/pick.toml"))
    assert suite.changes.get("holdout") is None
    cells = make_plan(replace(suite, data="standin")).cells
    assert {cell.arm: cell.recipe.learning_rate for cell in cells} == dict(
        chosen["recipe.learning_rate"]
    )
    assert cells[1].options["beta"] == chosen["objective.beta"]["lico"]
    assert cells[0].pair == cells[1].pair


def trials(**columns) -> pd.DataFrame:
    return pd.DataFrame({"dataset": "cifar10", "arm": "lico", "trial": range(3), **columns})


def test_a_tie_goes_to_the_cheaper_trial():
    table = trials(pick=[0.70, 0.71, 0.705], cost_gigaflop=[3.0, 2.0, 1.0])
    assert best_trials(table, "pick").trial.tolist() == [1]
    assert best_trials(table, "pick", tie=0.006).trial.tolist() == [2]
    assert best_trials(table, "pick", tie=0.1).trial.tolist() == [2]
    same = trials(pick=[0.7, 0.7, 0.7], cost_gigaflop=1.0)
    assert best_trials(same, "pick").trial.tolist() == [0]


def test_a_diverged_trial_is_the_worst_and_no_pick_is_made_of_diverged_trials_alone():
    worst = float("-inf")
    table = trials(pick=[worst, 0.1, worst], cost_gigaflop=1.0)
    assert best_trials(table, "pick").trial.tolist() == [1]
    with pytest.raises(LicoBenchError, match="cifar10 lico: every trial diverged"):
        best_trials(trials(pick=worst, cost_gigaflop=1.0), "pick")


def test_the_suite_of_a_pick_is_toml_that_names_its_trials():
    found = tuning()
    picks = trials(pick=0.5, **{"recipe.learning_rate": 0.123, "objective.beta": 1.0}).iloc[1:2]
    text = picked_suite(found, picks)
    declared = tomllib.loads(text)
    assert declared["dataset"]["cifar10"]["arm"]["lico"] == {
        "recipe": {"learning_rate": 0.123}, "objective": {"beta": 1.0},
    }  # fmt: skip
    assert "# Trial 1 of 3." in text
    assert declared["seeds"] == 1
