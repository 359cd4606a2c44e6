"""A suite file is equivalent to the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lico_bench.bench import PROFILES, Suite, make_plan
from lico_bench.bench.suite import read_suite, suite_toml
from lico_bench.errors import (
    BrokenFileError,
    InvalidInputError,
    LicoBenchError,
    UnknownNameError,
)

WHOLE = """
datasets = ["cifar10", "flowers"]
arms = ["baseline", "lico_mm"]
seeds = 2
profile = "smoke"
methods = ["grad_cam", "rise(num_masks=8)"]
metrics = ["insertion"]
protocol = "rise_2018"
scorer = "baseline"
data = "standin"
limit = 4

[recipe]
epochs = 1
backbone = "wrn_10_1"

[objective]
alpha = 2.5

[dataset.cifar10]
seeds = 3
recipe = { epochs = 2 }
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "suite.toml"
        path.write_text(text)
        return path

    return write


def test_every_field_is_read_and_planned(written):
    suite = read_suite(written(WHOLE))
    assert suite == Suite(
        ("cifar10", "flowers"), ("baseline", "lico_mm"), 2, "smoke",
        ("grad_cam", "rise(num_masks=8)"), ("insertion",), "rise_2018", "standin", 4,
        {"epochs": 1, "backbone": "wrn_10_1"}, {"alpha": 2.5}, "baseline",
        {"cifar10": {"seeds": 3, "changes": {"epochs": 2}}},
    )  # fmt: skip
    cells = make_plan(suite).cells
    told = {(c.recipe.dataset, c.recipe.arm, c.recipe.seed): c.recipe.epochs for c in cells}
    assert len(told) == len(cells) == 2 * 3 + 2 * 2
    assert {told[key] for key in told if key[0] == "cifar10"} == {2}
    assert {told[key] for key in told if key[0] == "flowers"} == {1}
    assert dict(cells[1].recipe.objective) == {"alpha": 2.5}


def test_what_is_not_named_is_the_profiles(written):
    quick = PROFILES["quick"]
    suite = read_suite(written('datasets = ["cifar10"]'))
    assert suite == Suite(
        ("cifar10",), seeds=quick.seeds, methods=quick.methods, metrics=quick.metrics,
        limit=quick.limit,
    )  # fmt: skip
    assert "of_dataset" not in suite.facts()  # suites of before keep their identity


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("datasets = [", BrokenFileError, "not TOML"),
        ("seeds = 2", InvalidInputError, "datasets: expected a list of names"),
        ('datasets = "cifar10"', InvalidInputError, "expected a list of names"),
        ('datasets = ["cifar10"]\nseeds = "two"', InvalidInputError, "seeds: expected a whole"),
        ('datasets = ["cifar10"]\nseeds = true', InvalidInputError, "seeds: expected a whole"),
        ('datasets = ["cifar10"]\nseed = 2', UnknownNameError, "seeds"),
        ('datasets = ["cifar10"]\nprofile = "tiny"', InvalidInputError, "profile"),
        ('datasets = ["cifar10"]\nrecipe = 3', InvalidInputError, "recipe: expected a table"),
        ('datasets = ["cifar10"]\n[dataset.svhn]\nseeds = 3', UnknownNameError, "svhn"),
        ('datasets = ["cifar10"]\n[dataset.cifar10]\nepochs = 3', UnknownNameError, "epochs"),
        ('datasets = ["cifar10"]\n[dataset.cifar10]\nseeds = 0', InvalidInputError, "seeds"),
        ('datasets = ["cifar10"]\n[dataset]\ncifar10 = 0', InvalidInputError, "a table"),
        ('datasets = ["cifar10"]\n[dataset.cifar10]\narms = "lico"', InvalidInputError, "a list"),
        ('datasets = ["cifar10"]\n[dataset.cifar10]\narms = []', InvalidInputError, "at least one"),
        ('datasets = ["cifar10"]\n[dataset.cifar10]\narms = ["cgc"]', UnknownNameError, "cgc"),
    ],
)
def test_what_means_nothing_is_named_with_the_file(written, text, error, message):
    with pytest.raises(error, match=message) as told:
        read_suite(written(text))
    assert "suite.toml" in str(told.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_suite(tmp_path / "none.toml")


def test_a_part_of_a_suite_keeps_what_is_said_of_its_datasets(written):
    suite = read_suite(written(WHOLE))
    assert suite.only("flowers").of_dataset == {}
    assert suite.only("cifar10").seeds_of("cifar10") == 3
    assert suite.only("cifar10").facts()["of_dataset"]["cifar10"]["seeds"] == 3


def test_a_dataset_may_have_fewer_arms(written):
    more = '["baseline", "lico", "lico_mm"]'
    suite = read_suite(
        written(
            f'datasets = ["cifar10", "flowers"]\narms = {more}\nseeds = 1\ndata = "standin"\n'
            '[dataset.flowers]\narms = ["lico_mm", "baseline"]'
        )
    )
    trained = [(cell.recipe.dataset, cell.recipe.arm) for cell in make_plan(suite).cells]
    assert trained == [
        ("cifar10", "baseline"), ("cifar10", "lico"), ("cifar10", "lico_mm"),
        ("flowers", "baseline"), ("flowers", "lico_mm"),
    ]  # fmt: skip
    with pytest.raises(InvalidInputError, match="baseline, lico_mm of flowers"):
        make_plan(replace(suite, scorer="lico"))


def test_an_arm_has_settings_of_its_own_and_stays_in_its_pair(tmp_path):
    path = tmp_path / "suite.toml"
    path.write_text(
        """
        datasets = ["cifar10", "svhn"]
        data = "standin"
        profile = "smoke"
        [recipe]
        learning_rate = 0.3
        [arm.lico]
        recipe = { learning_rate = 0.1 }
        objective = { beta = 0.2 }
        [dataset.svhn.arm.lico]
        objective = { beta = 0.4 }
        """,
        encoding="utf-8",
    )
    plan = make_plan(read_suite(path))
    recipes = {(c.recipe.dataset, c.arm): c.recipe for c in plan.cells}
    assert {key: recipe.learning_rate for key, recipe in recipes.items()} == {
        ("cifar10", "baseline"): 0.3, ("cifar10", "lico"): 0.1,
        ("svhn", "baseline"): 0.3, ("svhn", "lico"): 0.1,
    }  # fmt: skip
    assert [c.options["beta"] for c in plan.cells if c.arm == "lico"] == [0.2, 0.4]
    assert len({c.pair for c in plan.cells}) == 2
    plain = make_plan(replace(read_suite(path), of_arm={}, of_dataset={}))
    assert [c.key for c in plain.cells if c.arm == "baseline"] == [
        c.key for c in plan.cells if c.arm == "baseline"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[arm.licoo]\nrecipe = { learning_rate = 0.1 }", "did you mean 'lico'"),
        ("[arm.lico]\nseeds = 3", "unknown setting of arm lico 'seeds'"),
        ("[arm.lico]\nrecipe = 3", "recipe: expected a table"),
        ("arm = 3", "arm: expected a table"),
        ("[arm.lico]\nrecipe = { epochs = 3 }", "recipe.epochs: all arms of a pair share it"),
        ("[arm.lico]\nobjective = { betta = 3.0 }", "did you mean 'beta'"),
    ],
)
def test_a_wrong_setting_of_an_arm_is_one_sentence(tmp_path, text: str, message: str):
    path = tmp_path / "suite.toml"
    path.write_text(f'datasets = ["cifar10"]\ndata = "standin"\n{text}\n', encoding="utf-8")
    with pytest.raises(LicoBenchError, match=message):
        make_plan(read_suite(path))


@pytest.mark.parametrize("suite", [
    Suite(("cifar10",), limit=5),
    Suite(
        datasets=("cifar10", "flowers"), arms=("baseline", "lico"), profile="smoke", data="standin",
        seeds=3, limit=7, methods=("grad_cam", "rise(num_masks=8)"), metrics=("insertion",),
        as_published=True, changes={"epochs": 2, "text_encoder": "random"},
        objective={"beta": 0.25, "class_names": "card"},
        of_dataset={
            "flowers": {
                "seeds": 1, "changes": {"learning_rate": 0.5},
                "of_arm": {"lico": {"changes": {"momentum": 0.5}, "objective": {"alpha": 2.0}}},
            },
        },
        of_arm={"lico": {"changes": {"weight_decay": 1e-05}, "objective": {"context": 'a "b" \\'}}},
    ),
])  # fmt: skip
def test_a_suite_reads_back_from_its_text(suite: Suite):
    Path("suite.toml").write_text(suite_toml(suite), encoding="utf-8")
    assert read_suite(Path("suite.toml")) == suite
