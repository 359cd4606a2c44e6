"""Options of LICO that do not work are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lico_bench.errors import InvalidInputError
from lico_bench.training import ARMS
from lico_bench.training.lico_options import CHOICES, LicoOptions
from tests.training.lico_case import (
    build,
)


def test_prompts_of_several_copies_are_not_held():
    with pytest.raises(InvalidInputError, match="text_every 2"):
        LicoOptions(text_every=2, copies="rolled")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights_warmup_frac": 1.0}, "expected a share of the training"),
        ({"weights_schedule": "step"}, "weights_schedule"),
    ],
)
def test_a_wrong_schedule_of_the_weights_is_refused(options, message: str):
    with pytest.raises(InvalidInputError, match=message):
        LicoOptions(**options)


@pytest.mark.parametrize(
    ("option", "value"),
    [(option, value) for option, choices in CHOICES.items() for value in choices]
    + [
        ("mm_detach_text", True), ("mm_normalise", False), ("learn_temperature", False),
        ("separate_temperatures", True), ("num_context", 0), ("num_context", 6),
        ("frozen_encoder", False), ("ot_normalise", False), ("ot_padding", True),
        ("mm_floor", 1e-4), ("mm_least_distance", 0.01),
    ],
)  # fmt: skip
def test_every_value_of_every_switch_has_finite_terms_and_gradients(batch, option, value):
    changes = {"copies": "rolled"} if value == "rolled_contexts" else {}
    objective = build(**{option: value}, **changes)
    values = objective(batch)
    objective.total(values).backward()
    assert all(v.isfinite() and v < 1e4 for v in values.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.parameters())
    assert batch.output.features.grad.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": -1.0}, "alpha: expected a number of at least 0"),
        ({"beta": -1.0}, "beta: expected a number of at least 0"),
        ({"epsilon": 0.0}, "epsilon: expected a number above 0"),
        ({"ot_gradient": "plan"}, "ot_gradient: expected one of cost, full, none"),
        ({"ot_points": "rolled_contexts"}, "needs several copies of the context"),
        ({"temperature_min": 0.0}, "temperature_min: expected a number above 0"),
        ({"temperature": 1e-3}, r"temperature: expected a number in \[0.01"),
    ],
)
def test_options_out_of_range_are_refused(changes, message):
    with pytest.raises(InvalidInputError, match=message):
        replace(LicoOptions(), **changes)


def test_a_batch_of_one_is_refused_where_it_cannot_be_compared(recipe):
    with pytest.raises(InvalidInputError, match="set batch_size to 2 or more"):
        ARMS["lico"].options.check(replace(recipe, batch_size=1))
    ARMS["lico_ot"].options.check(replace(recipe, batch_size=1))
