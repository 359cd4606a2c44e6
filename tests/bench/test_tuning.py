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
from lico_bench.bench.recompute import recompute_sample
from lico_bench.bench.suite import read_suite
from lico_bench.bench.trials import (
    TuningResult,
    best_trials,
    picked_suite,
    plan_trials,
    trial_table,
)
from lico_bench.bench.tuning import Range, formula, read_tuning
from lico_bench.data import load_card
from lico_bench.errors import InvalidInputError, LicoBenchError, MissingDataError
from lico_bench.gate.side import Side
from lico_bench.report import gather

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
holdout = {holdout}
second_pick = {{ accuracy = 1.0, overall = 2.0 }}

[space]
"recipe.learning_rate" = {{ low = 0.01, high = 0.5, scale = "log" }}

[space.lico]
"objective.beta" = {{ values = [0.1, 1.0] }}
"""


def tuning(data: str = "standin", *, holdout: str = "0.02", old: str = "", new: str = ""):
    """The tuning of the file above, with one part of its text replaced."""
    text = TUNING.format(data=data, holdout=holdout)
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
    assert {cell.recipe.holdout for cell in plan.cells} == {0.02}


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
        ("holdout = 0.02", "holdout = 1.5", r"expected a share in \(0, 1\), got 1.5"),
        ("holdout = 0.02", "holdout = 0.2", "400 images are held out and 60 trained on"),
        ("holdout = 0.02", "holdout = '0.2'", "holdout: expected a number"),
        ("holdout = 0.02", "holdout = 0.02\npick = {}", "expected the weight of a metric"),
        ("holdout = 0.02", "holdout = 0.02\ntie = -1", "tune.tie: expected a number"),
        ("holdout = 0.02", "holdout = 0.02\ntie = nan", "tune.tie: expected a number"),
        ("holdout = 0.02", f"holdout = 0.02\nseed = {2**64}", "tune.seed: expected at most"),
        ("trials = 3", "trials = 200_000", "tune.trials: expected at most 10,000"),
        ("[recipe]", "[recipe]\nholdout = 0.1", "set tune.holdout instead"),
        ("limit = 2", 'limit = 2\nscorer = "baseline"', "a trial scores its own maps"),
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
        (RATE, RATE.replace("0.5", "inf"), "expected low < high"),
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
    more = f'{BETA}\n"objective.num_context" = {{ values = [4, 8] }}'
    declared = tuning("real", holdout="0.2", old=BETA, new=more)
    plan = plan_trials(declared, root=cifar10_without_test, device="cpu")
    assert plan.datasets["cifar10"].found == {"train": (80, 50_000), "test": (20, 20)}
    options = ExecutorOptions(device="cpu")
    run = execute(plan, Path("run"), options=options, reporter=reporter)
    assert not run.failures()
    assert {name.partition("/")[0] for name in run.rows().image_id} == {"train"}
    (run.cell(plan.cells[4].key).path / "done.json").unlink()
    with pytest.raises(MissingDataError, match="1 of 6 trials are unfinished"):
        trial_table(plan, run)
    for use in (gather, Side.of, lambda run: recompute_sample(run, 1)):
        with pytest.raises(InvalidInputError, match="holds the trials of `lico-bench tune`"):
            use(run)
    again = execute(plan, Path("run"), options=options, reporter=reporter)
    assert len(reporter.of("skip")) == 5
    table = trial_table(plan, again)
    assert list(table.groupby("arm").size()) == [3, 3]  # the same budget
    assert (table.second_pick - table.accuracy - 2 * table.overall).abs().max() < 1e-9
    result = TuningResult.of(plan, again)
    files = result.files()
    assert sorted(files) == ["pick.toml", "second_pick.toml", "trials.csv"]
    chosen = result.picks["pick"].set_index("arm")
    Path("pick.toml").write_bytes(files["pick.toml"])
    suite = read_suite(Path("pick.toml"))
    assert suite.changes.get("holdout") is None
    cells = make_plan(replace(suite, data="standin")).cells
    assert {cell.arm: cell.recipe.learning_rate for cell in cells[:2]} == dict(
        chosen["recipe.learning_rate"]
    )
    assert cells[1].options["beta"] == chosen["objective.beta"]["lico"]
    # A whole number stays one, although the baseline does not have the option.
    assert type(cells[1].options["num_context"]) is int
    assert cells[1].options["num_context"] == chosen["objective.num_context"]["lico"]
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


def row(arm: str, settings: dict[str, object]) -> pd.DataFrame:
    """A picked trial."""
    return pd.DataFrame(
        [{"dataset": "cifar10", "arm": arm, "trial": 1, "accuracy": 0.5, **settings}]
    )


def test_the_suite_of_a_pick_names_its_trials():
    found = tuning()
    text = picked_suite(found, row("lico", {"recipe.learning_rate": 0.123, "objective.beta": 1.0}))
    declared = tomllib.loads(text)
    assert declared["dataset"]["cifar10"]["arm"]["lico"] == {
        "recipe": {"learning_rate": 0.123}, "objective": {"beta": 1.0},
    }  # fmt: skip
    assert "# cifar10 lico: trial 1 of 3." in text
    assert declared["seeds"] == 1


def test_the_suite_of_a_pick_has_the_published_settings_beside_the_tuned_ones():
    picked = row("lico", {"objective.beta": 0.1, "recipe.learning_rate": 0.4})
    Path("pick.toml").write_text(picked_suite(tuning(), picked), encoding="utf-8")
    suite = read_suite(Path("pick.toml"))
    assert suite.arms == ("baseline", "lico", "lico_as_published")
    cells = {cell.arm: cell for cell in make_plan(suite).cells}
    assert cells["lico"].options["beta"] == 0.1
    assert cells["lico_as_published"].options == cells["lico"].options | {"beta": 1.0}
    assert cells["lico_as_published"].recipe.learning_rate != 0.4
    assert len({cell.pair for cell in cells.values()}) == 1


def test_the_suite_of_a_pick_keeps_all_other_settings(tmp_path: Path):
    more = """
[arm.lico]
recipe = { weight_decay = 0.001 }
objective = { alpha = 3.0 }

[dataset.cifar10]
seeds = 2

[dataset.cifar10.arm.baseline]
recipe = { momentum = 0.8 }
"""
    old = "[recipe]"
    found = tuning(old=old, new=f'as_published = true\nprotocol = "lico_bench_1"\n{more}\n{old}')
    picked = {"recipe.learning_rate": 0.123, "objective.beta": 0.1}
    (tmp_path / "pick.toml").write_text(picked_suite(found, row("lico", picked)), encoding="utf-8")
    suite = read_suite(tmp_path / "pick.toml")
    assert suite.as_published
    assert suite.settings_of_arm("lico", "cifar10") == (
        {"weight_decay": 0.001, "learning_rate": 0.123}, {"alpha": 3.0, "beta": 0.1},
    )  # fmt: skip
    assert suite.settings_of_arm("baseline", "cifar10") == ({"momentum": 0.8}, {})
    changed = {"seeds": suite.seeds, "of_dataset": suite.of_dataset, "arms": suite.arms}
    assert suite == replace(found.suite, **changed)
    assert suite.of_dataset["cifar10"]["seeds"] == 2


def test_trials_of_an_arm_with_its_own_recipe_keep_their_pair():
    old = "[tune]"
    plan = plan_trials(
        tuning(old=old, new=f"[arm.lico]\nrecipe = {{ weight_decay = 0.001 }}\n{old}")
    )
    assert len({cell.pair for cell in plan.cells}) == 1
    assert {cell.recipe.weight_decay for cell in plan.cells if cell.arm == "lico"} == {0.001}


def test_a_drawn_default_is_not_a_second_trial():
    """Trial 0 has beta of the card; drawing that value again trains the same network."""
    plan = plan_trials(tuning())
    base = plan.cells[3]
    default = base.options["beta"]
    text = f'"objective.beta" = {{ values = [{default}] }}'
    declared = tuning(old=f"{RATE}\n\n[space.lico]\n{BETA}", new=f"[space.lico]\n{text}")
    declared = replace(declared, trials=2, suite=replace(declared.suite, arms=("lico",)))
    with pytest.raises(LicoBenchError, match="1 different settings for 2 trials"):
        declared.trials_of(plan.requested[3])


def test_metrics_of_a_pick_are_found_however_they_are_written():
    declared = tuning(old='"overall"]', new='"overall", "pointing_game(ties=strict)"]')
    assert declared.criteria == {
        "pick": {"accuracy": 1.0},
        "second_pick": {"accuracy": 1.0, "overall": 2.0},
    }
    weights = replace(declared, second_pick={"pointing_game( ties = strict )": 1.0}).criteria
    assert list(weights["second_pick"]) == ["pointing_game(ties=strict)"]


def test_a_metric_without_its_ground_truth_is_refused_before_training(cifar10_without_test):
    declared = tuning("real", holdout="0.2", old='"overall"]', new='"overall", "pointing_game"]')
    declared = replace(declared, second_pick={"pointing_game": 1.0})
    with pytest.raises(LicoBenchError, match="needs regions, which cifar10 does not have"):
        plan_trials(declared, root=cifar10_without_test)


def test_options_may_be_unquoted_tables():
    bare = tuning(old=RATE, new=RATE.replace('"', "").replace("scale = log", 'scale = "log"'))
    assert bare.spaces == tuning().spaces


def test_a_range_includes_its_ends_and_rounds_within_them():
    assert Range(0.9996, 1.0).at(0.0) == 0.9996
    assert Range(0.01, 0.5, is_log=True).at(0.5) == 0.0707
    assert all(0.98765 <= Range(0.98765, 0.98799).at(u) <= 0.98799 for u in (0.0, 0.3, 0.7, 1.0))
    assert Range(values=(1, 2)).at(1.0) == 2


def test_a_formula_reads_as_arithmetic():
    assert (
        formula({"accuracy": 1.0, "overall": 2.0, "deletion": -1.0})
        == "accuracy + 2 overall - deletion"
    )
    assert formula({"deletion": -0.5}) == "- 0.5 deletion"
