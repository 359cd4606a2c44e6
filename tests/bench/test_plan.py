"""Plans: cells, identities, and refusals before anything is run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lico_bench.bench import Suite, execute, make_plan
from lico_bench.data import card_names, load_card
from lico_bench.errors import InvalidInputError, MissingDataError, UnknownNameError
from lico_bench.training.loop import prepare
from tests.bench.precisions import HAS_BFLOAT16, NO_BFLOAT16, auto_suite


def test_a_plan_has_every_cell_and_its_pairs(suite):
    plan = make_plan(replace(suite, seeds=2))
    assert len({cell.key for cell in plan.cells}) == len(plan.cells) == 4
    pairs = {cell.recipe.pair_key for cell in plan.cells}
    assert len(pairs) == 2
    for pair in pairs:
        arms = {cell.recipe.arm for cell in plan.cells if cell.recipe.pair_key == pair}
        assert arms == {"baseline", "lico"}


def test_the_same_suite_has_the_same_identity(suite):
    assert make_plan(suite).key == make_plan(suite).key


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 2},
        {"limit": 5},
        {"methods": ("random_map",)},
        {"changes": {"epochs": 3}},
        {"objective": {"alpha": 1.0}},
    ],
)
def test_another_suite_has_another_identity(suite, change):
    assert make_plan(replace(suite, **change)).key != make_plan(suite).key


def test_an_option_of_one_arm_leaves_the_other_arms_cell_alone(suite):
    before = {cell.recipe.arm: cell.key for cell in make_plan(suite).cells}
    changed = make_plan(replace(suite, objective={"alpha": 1.0}))
    after = {cell.recipe.arm: cell.key for cell in changed.cells}
    assert before["baseline"] == after["baseline"]
    assert before["lico"] != after["lico"]
    assert {cell.recipe.arm: cell.options for cell in changed.cells}["lico"]["alpha"] == 1.0


def test_the_manifest_has_names_in_index_order_and_the_encoders_checksum(suite):
    manifest = make_plan(suite).manifest()
    facts = manifest.datasets["cifar10"]
    assert facts.source == "standin"
    assert len(facts.class_names) == len(set(facts.class_names)) >= 8
    encoders = {cell.recipe.arm: cell.encoder for cell in manifest.cells}
    assert encoders["baseline"] is None
    assert encoders["lico"]["sha256"].startswith("53aa5117")
    assert manifest.metrics["deletion"].higher_is_better is False
    assert manifest.protocols[make_plan(suite).eval_config.protocol.id]["steps"] == 32


@pytest.mark.parametrize("profile", ["smoke", "quick", "paper"])
def test_every_dataset_can_be_planned_without_an_image_on_disk(profile: str):
    plan = make_plan(Suite(datasets=card_names(), seeds=1, profile=profile))
    assert len(plan.cells) == 2 * len(card_names()) == 16
    assert {facts.source for facts in plan.datasets.values()} == {"standin"}
    assert all(cell.cost.updates > 0 for cell in plan.cells)


def test_counted_work_is_what_is_run(suite):
    cell = make_plan(suite).cells[0]
    assert cell.cost.updates == 4  # 64 images, batch 32, 2 epochs
    assert cell.cost.train_images == 128
    tested = make_plan(suite).datasets["cifar10"].num_images("test")
    assert cell.cost.forwards == tested + 4 * (2 * 32 + 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"datasets": ("cifar11",)}, UnknownNameError, "did you mean 'cifar10'"),
        ({"arms": ("baseline", "lica")}, UnknownNameError, "did you mean 'lico'"),
        ({"methods": ("gradcam",)}, UnknownNameError, "did you mean 'grad_cam'"),
        ({"metrics": ("deletions",)}, UnknownNameError, "did you mean 'deletion'"),
        ({"protocol": "lico_bench_2"}, UnknownNameError, "did you mean 'lico_bench_1'"),
        ({"changes": {"epoch": "3"}}, UnknownNameError, "did you mean 'epochs'"),
        ({"changes": {"epochs": "three"}}, InvalidInputError, "recipe option 'epochs'"),
        ({"changes": {"epochs": "0"}}, InvalidInputError, "epochs: expected a whole number"),
        ({"changes": {"backbone": "wrn_28_3"}}, UnknownNameError, "did you mean 'wrn_28_"),
        ({"changes": {"precision": "half"}}, InvalidInputError, "precision: expected one of"),
        ({"objective": {"alfa": 1}}, UnknownNameError, "did you mean 'alpha'"),
        ({"objective": {"alpha": -1}}, InvalidInputError, "alpha: expected"),
        ({"data": "real"}, MissingDataError, "no images found"),
    ],
)
def test_what_cannot_be_run_is_refused_at_the_plan(suite, change, error, message: str):
    with pytest.raises(error, match=message):
        make_plan(replace(suite, **change))


def test_an_empty_data_root_is_refused_for_real_images(suite, tmp_path):
    with pytest.raises(MissingDataError, match=r"CIFAR-10: no images found .* --data standin"):
        make_plan(replace(suite, data="real"), root=tmp_path)


def test_a_data_root_that_is_not_there_is_refused(suite, tmp_path):
    with pytest.raises(MissingDataError, match="no such folder"):
        make_plan(replace(suite, data="auto"), root=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ("lico", "lico")}, "a name occurs twice"),
        ({"methods": ()}, "at least one name"),
        ({"seeds": 0}, "seeds: expected a whole number"),
        ({"limit": 0}, "limit: expected a whole number"),
    ],
)
def test_a_suite_that_makes_no_sense_is_refused(suite, change, message: str):
    with pytest.raises(InvalidInputError, match=message):
        replace(suite, **change)


def test_a_batch_of_one_is_refused_before_anything_is_run(suite):
    one = replace(suite, changes={**suite.changes, "batch_size": 1})
    with pytest.raises(InvalidInputError, match="set batch_size to 2 or more"):
        make_plan(one)
    make_plan(replace(one, arms=("baseline",)))


def test_complete_datasets_can_be_planned_and_nothing_else(tmp_path, reporter):
    suite = Suite(("imagenet", "cub200"), profile="paper", data="official")
    plan = make_plan(suite, root=tmp_path)
    found = {name: facts.found for name, facts in plan.datasets.items()}
    assert found["imagenet"] == {"train": (1_281_167,) * 2, "test": (50_000,) * 2}
    assert found["cub200"] == {"train": (5_994,) * 2, "test": (5_794,) * 2}
    assert {cell.recipe.backbone for cell in plan.cells[:4]} == {"resnet50"}
    with pytest.raises(InvalidInputError, match="with --plan, or run with --data auto"):
        execute(plan, tmp_path / "run", reporter=reporter)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arm", ["baseline", "lico", "lico_fletcher", "lico_authors_code", "lico_response"]
)
def test_checkpoints_are_as_large_as_planned(suite, arm, tmp_path):
    cell = make_plan(replace(suite, arms=(arm,))).cells[0]
    session = prepare(cell.recipe, device="cpu")
    trained = [*session.objective.parameters(), *session.classifier.parameters()]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    session.optimizer.step()  # the momentum of each is there
    torch.save([session.optimizer.state_dict(), trained], tmp_path / "checkpoint.pt")
    size = 2 * (tmp_path / "checkpoint.pt").stat().st_size
    assert cell.cost.checkpoint_bytes == pytest.approx(size, rel=0.15)


def test_a_card_sets_options_of_the_arms_that_follow_the_paper_unless_as_published(tmp_path):
    arms = ("baseline", "lico", "lico_mm", "lico_random_text", "lico_authors_code")
    suite = Suite(datasets=("cifar10",), arms=arms, seeds=1, data="standin")
    tuned = load_card("cifar10").objective("quick", "standin")
    assert tuned["beta"] < 1

    def betas(suite):
        return {cell.recipe.arm: cell.options.get("beta") for cell in make_plan(suite).cells}

    usual = betas(suite)
    assert usual["lico"] == usual["lico_random_text"] == tuned["beta"]
    assert usual["lico_mm"] == 0  # what makes it an arm stays
    assert usual["lico_authors_code"] == 1  # a reading of another party
    published = betas(replace(suite, as_published=True))
    assert published["lico"] == published["lico_random_text"] == 1
    assert betas(replace(suite, objective={"beta": 0.5}))["lico"] == 0.5


def test_a_pair_shares_its_key_whatever_the_card_sets(suite):
    plan = make_plan(Suite(datasets=("cifar10",), seeds=1, data="standin"))
    assert len({cell.recipe.pair_key for cell in plan.cells}) == 1


@pytest.mark.parametrize("precision", [NO_BFLOAT16, HAS_BFLOAT16])
def test_cells_carry_the_resolved_precision_and_arms_of_a_pair_share_it(suite, machine, precision):
    machine(precision)
    plan = make_plan(auto_suite(suite))
    assert {cell.recipe.precision for cell in plan.cells} == {precision.name}
    assert len({cell.recipe.pair_key for cell in plan.cells}) == len(plan.cells) // 2
    recorded = [cell.recipe.precision for cell in plan.manifest().cells]
    assert set(recorded) == {precision.name}


def test_another_precision_is_another_cell_in_a_folder_of_the_same_name(suite, machine):
    machine(NO_BFLOAT16)
    plain = make_plan(auto_suite(suite))
    machine(HAS_BFLOAT16)
    short = make_plan(auto_suite(suite))
    assert plain.name == short.name
    assert plain.key != short.key
    assert {c.key for c in plain.cells}.isdisjoint(c.key for c in short.cells)


def test_naming_what_auto_stands_for_gives_the_same_cells(suite, machine):
    machine(NO_BFLOAT16)
    named = make_plan(replace(suite, changes={**suite.changes, "precision": "float32"}))
    assert [c.key for c in named.cells] == [c.key for c in make_plan(auto_suite(suite)).cells]
