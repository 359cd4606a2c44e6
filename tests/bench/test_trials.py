"""Trials of every arm with one budget, judged on images held out of train, and their picks."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

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
from lico_bench.bench.tuning import read_tuning
from lico_bench.errors import InvalidInputError, LicoBenchError, MissingDataError
from lico_bench.gate.side import Side
from lico_bench.report import gather
from tests.bench.tuning_file import BETA, TUNING, tuning


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
    assert "seeds" not in suite.of_dataset["cifar10"]


def test_trials_of_an_arm_with_its_own_recipe_keep_their_pair():
    old = "[tune]"
    plan = plan_trials(
        tuning(old=old, new=f"[arm.lico]\nrecipe = {{ weight_decay = 0.001 }}\n{old}")
    )
    assert len({cell.pair for cell in plan.cells}) == 1
    assert {cell.recipe.weight_decay for cell in plan.cells if cell.arm == "lico"} == {0.001}


def test_a_metric_without_its_ground_truth_is_refused_before_training(cifar10_without_test):
    declared = tuning("real", holdout="0.2", old='"overall"]', new='"overall", "pointing_game"]')
    declared = replace(declared, second_pick={"pointing_game": 1.0})
    with pytest.raises(LicoBenchError, match="needs regions, which cifar10 does not have"):
        plan_trials(declared, root=cifar10_without_test)


def test_published_settings_are_those_of_the_paper_also_where_the_file_sets_others():
    found = tuning(old="[recipe]", new="[objective]\nbeta = 0.3\n[recipe]")
    picked = row("lico", {"objective.beta": 0.1, "recipe.learning_rate": 0.4})
    Path("pick.toml").write_text(picked_suite(found, picked), encoding="utf-8")
    cells = {cell.arm: cell for cell in make_plan(read_suite(Path("pick.toml"))).cells}
    assert {arm: cells[arm].options["beta"] for arm in ("lico", "lico_as_published")} == {
        "lico": 0.1, "lico_as_published": 1.0,
    }  # fmt: skip


def test_the_number_of_seeds_of_a_trial_is_not_that_of_the_suite():
    found = tuning(old="[recipe]", new="[dataset.cifar10]\nseeds = 4\n[recipe]")
    text = picked_suite(found, row("lico", {"objective.beta": 0.1, "recipe.learning_rate": 0.4}))
    assert text.count("seeds") == 1


def test_options_are_checked_together_with_those_of_the_suite():
    points = '"objective.ot_points" = { values = ["rolled_contexts", "prompt_tokens"] }'
    text = TUNING.format(data="standin", holdout="0.02").replace(BETA, points)
    path = Path("space.toml")
    path.write_text(text.replace("[recipe]", '[objective]\ncopies = "rolled"\n[recipe]'))
    assert len(plan_trials(read_tuning(path)).cells) == 6
    path.write_text(text)
    with pytest.raises(LicoBenchError, match="needs several copies of the context"):
        read_tuning(path)


def test_options_that_do_not_fit_each_other_are_named_with_their_arm():
    frozen = '"objective.frozen_encoder" = { values = [false] }'
    new = f'"objective.text_every" = {{ values = [2] }}\n{frozen}'
    with pytest.raises(LicoBenchError, match="space of arm 'lico': text_every 2"):
        plan_trials(tuning(old=BETA, new=new))
