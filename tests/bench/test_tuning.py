"""Trials of every arm with one budget, judged on images held out of train."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lico_bench.bench.trials import (
    plan_trials,
)
from lico_bench.bench.tuning import Range, formula
from lico_bench.errors import LicoBenchError
from tests.bench.tuning_file import BETA, RATE, tuning


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
        ("[recipe]", "[dataset.cifar10]\nrecipe = { holdout = 0 }\n[recipe]", "set tune.holdout"),
        ("[recipe]", "[recipe]\nholdout = 0.1", "set tune.holdout instead"),
        ("limit = 2", 'limit = 2\nscorer = "baseline"', "a trial scores its own maps"),
        ("overall = 2.0", "pointing_game = 2.0", "unknown metric of a pick 'pointing_game'"),
        (RATE, "", "different settings for 3 trials"),
        ("overall = 2.0", "deletion = 2.0", "lower is better; expected a negative weight"),
        ("overall = 2.0", "insertion = -2.0", "higher is better; expected a positive weight"),
        ("overall = 2.0", "overall = 0", "expected a finite weight other than 0"),
        ("overall = 2.0", "overall = nan", "expected a finite weight other than 0"),
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
