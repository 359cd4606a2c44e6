"""Seconds of a plan: the sum that the formula says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lico_bench.bench import make_plan
from lico_bench.bench.calibration import (
    Calibration,
    FixedCosts,
    Timing,
    classifying_unit,
    explaining_unit,
    loading_unit,
    training_unit,
)
from lico_bench.bench.cost import ROW_S, num_plots, predict_cost

FIXED = FixedCosts(start=3.0, first=2.0, cell=0.5, text_cell=1.5, report=2.0, plot=0.5)


@pytest.fixture
def plan(suite):
    return make_plan(replace(suite, seeds=2))


def timed(plan) -> Calibration:
    """Every unit of the plan: a second each, of 10⁹ operations or pixels."""
    known = Calibration({}, FIXED)
    facts = plan.datasets["cifar10"]
    for cell in plan.cells:
        per_epoch = 10.0 if cell.recipe.arm == "lico" else 4.0
        known = known.with_timing(training_unit(cell, facts), Timing(0.25, 1.0, per_epoch))
        known = known.with_timing(classifying_unit(cell, facts), Timing(0.01, 1.0))
        unit = explaining_unit(cell, facts, plan.question, "grad_cam")
        known = known.with_timing(unit, Timing(0.5, 1.0))
        for split in ("train", "test"):
            known = known.with_timing(loading_unit(cell, facts, split), Timing(7.0, 1.0))
    return known


def test_seconds_are_the_sum_of_the_parts(plan):
    cost = predict_cost(plan, timed(plan))
    tested = plan.datasets["cifar10"].num_images("test")
    plain, lico = cost.cells[:2]
    assert plain.training == pytest.approx(4 * 0.25 + 2 * 4.0)  # 4 updates, 2 epochs
    assert lico.training == pytest.approx(4 * 0.25 + 2 * 10.0)
    assert plain.scoring == pytest.approx(tested * 0.01 + 4 * 0.5)
    assert (plain.fixed, lico.fixed) == (0.5, 1.5)
    assert cost.start == 5.0
    assert cost.loading == 14.0  # both splits, once for all four models
    rows = sum(cell.work.rows for cell in plan.cells)
    assert cost.report == pytest.approx(2.0 + 0.5 * num_plots(plan) + ROW_S * rows)
    parts = cost.start + cost.loading + sum(c.seconds for c in cost.cells) + cost.report
    assert cost.seconds == pytest.approx(parts)
    assert cost.measured_share == pytest.approx(1.0)


def test_what_was_not_timed_is_scaled_and_counted_as_such(plan):
    known = timed(plan)
    facts = plan.datasets["cifar10"]
    lico = next(cell for cell in plan.cells if cell.recipe.arm == "lico")
    fewer = {n: t for n, t in known.timings.items() if n != training_unit(lico, facts)}
    cost = predict_cost(plan, replace(known, timings=fewer))
    scaled = cost.cells[plan.cells.index(lico)]
    update = lico.work.train_gigaflop / lico.work.updates * 0.25
    assert scaled.training == pytest.approx(4 * update + 2 * update * 4.0 / 0.25)
    assert 0 < cost.measured_share < 1


def test_nothing_is_predicted_before_anything_was_timed(plan):
    assert predict_cost(plan, Calibration({})) is None
    assert predict_cost(plan, Calibration({}, FIXED)) is None
    training_alone = {n: t for n, t in timed(plan).timings.items() if n.startswith("train")}
    assert predict_cost(plan, Calibration({}, FIXED, training_alone)) is None
