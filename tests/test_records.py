"""Recipes and protocols: what they refuse, and which changes give another identity."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from lico_bench import Recipe
from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.metrics import PROTOCOLS
from lico_bench.records import Protocol


@pytest.fixture
def recipe() -> Recipe:
    return Recipe("cifar10", "wrn_10_1", "lico")


@pytest.mark.parametrize(
    "change", [{"ema_decay": 1.0}, {"ema_decay": -0.1}, {"gradient_clip": -1.0}]
)
def test_values_out_of_range_are_refused(recipe, change):
    with pytest.raises(InvalidInputError, match="expected a number"):
        replace(recipe, **change)


def test_an_unknown_precision_is_told_with_the_known_ones():
    with pytest.raises(InvalidInputError, match="one of auto, float32, bfloat16, got"):
        Recipe("cifar10", "wrn_10_1", "baseline", precision="fp8")


def test_a_changed_rule_is_another_id():
    ids = {protocol.id for protocol in PROTOCOLS.values()}
    assert len(ids) == len(PROTOCOLS)
    base = PROTOCOLS["lico_bench_1"]
    changes = {
        "steps": 16, "fill_rgb": (0.0, 0.0, 0.0), "blur_sigma_frac": 0.2,
        "blur_radius_sigmas": 3.0, "explained_class": "predicted", "score": "logit",
        "ties": "stable_reversed", "step_px": 9, "blur_sigma_px": 1.0, "blur_kernel_px": 3,
        "blur_kernel": "near_box", "blur_border": "fill", "scored_class": "predicted",
        "endpoints": "whole_steps", "area": "even", "scorer": "baseline",
    }  # fmt: skip
    assert set(changes) == {field.name for field in fields(Protocol)} - {"name", "source"}
    for name, value in changes.items():
        assert replace(base, **{name: value}).id != base.id, name


def test_the_default_protocols_id_is_the_one_that_stored_rows_carry():
    assert PROTOCOLS["lico_bench_1"].id == "lico_bench_1@388ee2af"


def test_options_as_text_become_the_types_of_their_fields(recipe):
    changed = recipe.with_options(
        {
            "epochs": "3",
            "learning_rate": "0.1",
            "compile": "yes",
            "labels": "40",
            "train_limit": "none",
        }
    )
    assert (changed.epochs, changed.learning_rate, changed.compile) == (3, 0.1, True)
    assert (changed.labels, changed.train_limit) == (40, None)
    for name, value in (("epochs", 2.5), ("epochs", "few"), ("compile", "perhaps")):
        with pytest.raises(InvalidInputError, match=f"'{name}'"):
            recipe.with_options({name: value})
    with pytest.raises(UnknownNameError, match="did you mean 'epochs'"):
        recipe.with_options({"epoch": 3})


def test_an_arm_with_settings_of_its_own_stays_in_its_pair(recipe):
    own = recipe.for_arm({"weight_decay": 0.001}, {"beta": 0.5})
    assert own.weight_decay == 0.001
    assert dict(own.objective) == {"beta": 0.5}
    assert own.pair_key == recipe.pair_key
    assert own.for_arm({"weight_decay": recipe.weight_decay}, {}).of_pair == ()
    with pytest.raises(InvalidInputError, match=r"recipe\.epochs"):
        recipe.for_arm({"epochs": 3}, {})
