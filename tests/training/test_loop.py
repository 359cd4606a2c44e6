"""Training: what it records, resumes and refuses."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch

from lico_bench import Recipe
from lico_bench.errors import BrokenFileError, InvalidInputError, TrainingError, UnknownNameError
from lico_bench.runtime import native_precision
from lico_bench.training import train
from lico_bench.training.loop import prepare


def copy_of(state):
    """Through bytes, as a checkpoint on disk goes."""
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


@pytest.mark.parametrize("arm", ["baseline", "lico"])
def test_a_resumed_training_ends_with_the_same_bits(recipe, arm: str):
    recipe = replace(recipe, arm=arm, epochs=3)
    kept = []
    whole = train(recipe, device="cpu", keep=lambda state: kept.append(copy_of(state)))
    assert [state["epoch"] for state in kept] == [1, 2]
    for state in kept:
        again = train(recipe, device="cpu", state=state)
        ours, theirs = whole.classifier.state_dict(), again.classifier.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        steady = whole.history[whole.history.quantity != "elapsed_s"]
        resumed = again.history[again.history.quantity != "elapsed_s"]
        assert steady.reset_index(drop=True).equals(resumed.reset_index(drop=True))


@pytest.mark.parametrize("arm", ["baseline", "lico"])
def test_a_training_resumed_inside_an_epoch_ends_with_the_same_bits(recipe, arm: str):
    recipe = replace(recipe, arm=arm, augmentation="crop_flip", ema_decay=0.5)
    kept = []
    whole = train(
        recipe, device="cpu", keep=lambda state: kept.append(copy_of(state)), is_due=lambda: True
    )
    inside = [state for state in kept if state["under_way"] is not None]
    assert [len(state["under_way"]["diagnostics"]) for state in inside] == [1, 2, 3] * 2
    for state in (inside[0], inside[4], inside[5]):  # early, in the middle, after the last update
        again = train(recipe, device="cpu", state=state)
        ours, theirs = whole.classifier.state_dict(), again.classifier.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        steady = whole.history[whole.history.quantity != "elapsed_s"]
        resumed = again.history[again.history.quantity != "elapsed_s"]
        assert steady.reset_index(drop=True).equals(resumed.reset_index(drop=True))


def test_history_has_every_term_of_every_epoch(recipe):
    history = train(recipe, device="cpu").history
    for epoch in (1, 2):
        quantities = set(history[history.epoch == epoch].quantity)
        assert {
            "loss", "cross_entropy", "manifold_matching", "transport", "temperature",
            "transport_iterations", "transport_unconverged", "learning_rate", "train_accuracy",
        } <= quantities  # fmt: skip
    means = history[history.epoch == 1].set_index("quantity")["value"]
    weighted = means["cross_entropy"] + 10 * means["manifold_matching"] + means["transport"]
    assert means["loss"] == pytest.approx(weighted, rel=1e-5)


def test_progress_counts_every_update(recipe):
    seen = []
    train(recipe, device="cpu", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_the_classifier_comes_back_in_evaluation_mode(recipe):
    trained = train(replace(recipe, arm="baseline"), device="cpu")
    assert not any(module.training for module in trained.classifier.modules())
    assert not any(p.requires_grad for p in trained.classifier.parameters())


def test_training_learns_the_scenes(recipe):
    recipe = replace(
        recipe, arm="baseline", train_limit=640, epochs=8, batch_size=32, learning_rate=0.2
    )
    history = train(recipe, device="cpu").history
    accuracy = history[history.quantity == "train_accuracy"].value.to_list()
    assert accuracy[-1] > accuracy[0] + 0.2


@pytest.mark.slow
def test_bfloat16_trains_with_losses_in_single_precision(recipe):
    session = prepare(replace(recipe, precision="bfloat16"), device="cpu")
    values = []
    forward = session.objective.forward
    session.objective.forward = lambda *a: values.append(forward(*a)) or values[-1]
    next(session.run_epoch())
    assert all(value.dtype == torch.float32 for value in values[0].values())
    assert all(value.isfinite() for value in values[0].values())


def test_a_loss_that_is_not_finite_names_the_step(recipe):
    recipe = replace(recipe, arm="baseline", learning_rate=1e30, schedule="constant", epochs=4)
    with pytest.raises(TrainingError, match=r"step \d+ of 12 .*arm baseline, seed 0.*not finite"):
        train(recipe, device="cpu")


def test_a_state_of_another_training_is_refused(recipe):
    kept = []
    train(recipe, device="cpu", keep=lambda state: kept.append(copy_of(state)))
    with pytest.raises(BrokenFileError, match="belongs to another training"):
        train(replace(recipe, backbone="wrn_16_1"), device="cpu", state=kept[0])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"arm": "licco"}, UnknownNameError, "did you mean 'lico'"),
        ({"backbone": "wrn"}, UnknownNameError, "unknown backbone 'wrn'"),
        ({"text_encoder": "clip"}, UnknownNameError, "unknown text encoder 'clip'"),
        ({"objective": (("alfa", 1.0),)}, UnknownNameError, "did you mean 'alpha'"),
        ({"objective": (("alpha", "ten"),)}, InvalidInputError, "expected float like 10.0"),
        ({"objective": (("alpha", -1.0),)}, InvalidInputError, "alpha: expected a number of at"),
        ({"objective": (("epsilon", 0.0),)}, InvalidInputError, "epsilon: expected a number above"),
        ({"objective": (("dropout", 1.0),)}, InvalidInputError, "dropout: expected"),
        ({"batch_size": 1}, InvalidInputError, "set batch_size to 2"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(recipe, change, error, message: str):
    with pytest.raises(error, match=message):
        train(replace(recipe, **change), device="cpu")


@pytest.mark.parametrize("name", ["nonsense", "meta"])
def test_device_that_is_not_there_or_has_no_memory_is_refused(recipe, name: str):
    with pytest.raises(InvalidInputError, match="use --device cpu or auto"):
        train(recipe, device=name)


def test_a_training_outside_a_run_resolves_auto_too():
    recipe = Recipe(
        "cifar10", "wrn_10_1", "baseline", source="standin", precision="auto", train_limit=64,
        epochs=1, batch_size=32,
    )  # fmt: skip
    trained = train(recipe, device="cpu")
    assert trained.recipe.precision == native_precision(torch.device("cpu")).name
