"""Own models as a plan: what makes another cell, and which labels images without any get."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from lico_bench.bench.user_plan import UserPlan, load_models, plan_user_models
from lico_bench.data.folder import load_folder
from lico_bench.errors import InvalidInputError
from lico_bench.evaluation import EvalConfig
from tests.cli.user_things import NET, write_images, write_network

WEIGHTS = [Path("a.safetensors"), Path("b.safetensors")]


@pytest.fixture(autouse=True)
def _own_things(tmp_path: Path) -> None:
    write_network(tmp_path)
    write_images(tmp_path / "photos")


def plan_of(weights: list[Path], photos: str = "photos", **changes: str) -> UserPlan:
    models = load_models("net.py:Net", weights, layer="conv", **changes)
    eval_config = EvalConfig.of(("grad_cam",), ("insertion",), "lico_bench_1", None)
    return plan_user_models(models, load_folder(Path(photos)), eval_config)


def test_models_of_a_plan_share_their_pair_and_have_cells_of_their_own():
    plan = plan_of(WEIGHTS)
    assert len({cell.pair for cell in plan.cells}) == 1
    assert len({cell.key for cell in plan.cells}) == 2
    assert [cell.key for cell in plan_of(WEIGHTS).cells] == [cell.key for cell in plan.cells]
    assert [cell.arm for cell in plan.cells] == list(plan.models)
    recorded = plan.manifest().cells[1].recipe.other
    assert recorded["weights_sha256"] == plan.cells[1].model.digest


def test_other_weights_or_another_normalisation_are_another_cell_of_the_same_pair():
    first, second = (plan_of([file]).cells[0] for file in WEIGHTS)
    normalised = plan_of(WEIGHTS[:1], normalise="imagenet").cells[0]
    assert len({cell.key for cell in (first, second, normalised)}) == 3
    assert len({cell.pair for cell in (first, second, normalised)}) == 1


def test_other_images_are_another_pair():
    write_images(Path("more"), each=3)
    assert plan_of(WEIGHTS).cells[0].pair != plan_of(WEIGHTS, "more").cells[0].pair


def test_images_without_labels_get_the_classes_that_the_first_model_predicts():
    write_images(Path("flat"), classed=False)
    plan = plan_of(WEIGHTS, "flat")
    data = plan.user_images.dataset
    first = next(iter(plan.models.values())).network
    with torch.inference_mode():
        expected = first(data.read(range(len(data)))).argmax(1)
    assert torch.equal(data.labels, expected)
    assert set(plan.cells[0].without) == {"accuracy", "brier"}
    assert not plan_of(WEIGHTS).cells[0].without


def test_a_factory_that_returns_one_network_twice_is_refused():
    # A module stays imported between the two calls; a file is executed in each.
    text = f"{NET}\nnetwork = Net()\ndef build():\n    return network\n"
    Path("kept_network.py").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="the same network twice"):
        load_models("kept_network:build", WEIGHTS)
    del sys.modules["kept_network"]
