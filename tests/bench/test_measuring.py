"""Timing a plan's units on this machine: each kind, within the time that is given."""

from __future__ import annotations

import math
from dataclasses import replace
from unittest.mock import Mock

import pytest

from lico_bench.bench import make_plan, measuring
from lico_bench.bench.calibration import Calibration, FixedCosts, Timing
from lico_bench.bench.cost import predict_cost
from lico_bench.bench.measuring import calibrate, measure_fixed_costs

FIXED = FixedCosts(start=3.0, first=2.0, cell=0.5, text_cell=1.5, report=2.0, plot=0.5)
QUICK = {"epochs": 1, "train_limit": 32, "batch_size": 16, "backbone": "wrn_10_1"}


@pytest.fixture
def plan(suite):
    return make_plan(replace(suite, arms=("baseline",), changes=QUICK))


@pytest.fixture(autouse=True)
def _no_small_run(monkeypatch):
    monkeypatch.setattr(measuring, "measure_fixed_costs", lambda *_: FIXED)


def test_every_kind_of_unit_is_timed_and_nothing_is_left_to_scale(plan):
    told = []
    known = calibrate(
        plan, Calibration({}), device="cpu", write_report=lambda _run: None, told=told.append
    )
    kinds = {unit.split(" | ")[0] for unit in known.timings}
    assert kinds == {"train", "classify", "explain", "load"}
    assert len(told) == 1 + len(known.timings)
    assert all(math.isfinite(t.seconds) and t.seconds > 0 for t in known.timings.values())
    cost = predict_cost(plan, known)
    assert cost.measured_share == pytest.approx(1.0)


def test_with_no_time_the_first_model_is_timed_all_the_same(suite, monkeypatch):
    for name in ("_timed", "_time_update", "_time_classifying", "_time_explaining"):
        monkeypatch.setattr(measuring, name, lambda *_: Timing(1.0, 1.0))
    monkeypatch.setattr(measuring, "SplitCache", lambda _root: Mock())
    both = make_plan(replace(suite, changes=QUICK))
    known = calibrate(
        both, Calibration({}), device="cpu", write_report=lambda _run: None, budget_s=0.0
    )
    cost = predict_cost(both, known)
    assert 0 < cost.measured_share < 1
    assert sum(unit.startswith("train") for unit in known.timings) == 1


@pytest.mark.parametrize(
    ("batch", "update_s", "expected"),
    [(128, 0.1, (128, 4)), (128, 1.0, (64, 3)), (128, 8.0, (8, 3)), (8, 60.0, (8, 2))],
)
def test_an_update_that_takes_long_is_timed_on_fewer_pictures(batch, update_s, expected):
    assert measuring._affordable(batch, update_s) == expected


@pytest.mark.slow
def test_fixed_costs_are_read_off_a_small_run(monkeypatch):
    from lico_bench.report import build_report

    monkeypatch.undo()
    found = measure_fixed_costs("cpu", build_report)
    assert found.start > 0.5
    assert found.plot > 0.05
    assert found.text_cell > found.cell > 0
