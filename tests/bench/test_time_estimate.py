"""Seconds of a run: the sum over its work items, by stage and by model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lico_bench.bench import make_plan, units
from lico_bench.bench.calibration import Calibration, Timing
from lico_bench.bench.time_estimate import estimate_time
from lico_bench.bench.units import remaining_training, work_items

SECONDS = {
    units.TRAINING: 0.25, units.CLASSIFYING: 0.01, units.EXPLAINING: 0.5, units.DRAWING: 0.1,
    units.SETUP: 2.0, units.STORING: 0.75, units.CHECKPOINT: 0.0, units.REPORT: 3.0,
    units.PLOT: 0.5, units.ROW: 0.0,
}  # fmt: skip


@pytest.fixture
def plan(suite):
    return make_plan(replace(suite, seeds=2))


@pytest.fixture
def remaining(plan):
    return remaining_training(plan, None)


def known(plan, remaining) -> Calibration:
    """Every unit, by its kind; the start of an epoch of LICO takes longer."""
    return Calibration({}).with_timings(
        {
            item.unit: Timing(SECONDS[item.unit.kind], 1.0, 4.0 if "lico" in item.unit.label else 1)
            for item in work_items(plan, remaining)
        }
    )


def test_seconds_are_the_sum_of_the_parts(plan, remaining):
    cost = estimate_time(plan, remaining, known(plan, remaining))
    tested = plan.datasets["cifar10"].num_images("test")
    scored = tested * 0.01 + 4 * 0.5
    plain, lico = list(cost.by_cell.values())[:2]
    assert plain == pytest.approx(4 * 0.25 + 2 * 1 + scored + 0.75)  # 4 updates, 2 epochs
    assert lico == pytest.approx(4 * 0.25 + 2 * 4 + 2.0 + scored + 0.75)
    assert cost.by_stage["loading"] == pytest.approx(40 * 0.1)  # both splits, once for all models
    assert cost.by_stage["scoring"] == pytest.approx(4 * scored)
    assert cost.by_stage["report"] == pytest.approx(3.0 + 0.5 * units.num_plots(plan))
    alone = cost.by_stage["loading"] + cost.by_stage["report"]
    assert cost.seconds == pytest.approx(sum(cost.by_cell.values()) + alone)
    assert cost.timed_share == pytest.approx(1.0)


def test_what_was_not_timed_is_counted_as_such(plan, remaining):
    whole = known(plan, remaining)
    fewer = {name: t for name, t in whole.timings.items() if not name.startswith("train")}
    cost = estimate_time(plan, remaining, replace(whole, timings=fewer))
    assert 0 < cost.timed_share < 1
    assert cost.seconds > 0


def test_a_half_finished_run_takes_less(plan, remaining):
    first, second = plan.cells[:2]
    cost = estimate_time(plan, {first.key: 0.0, second.key: 0.5}, known(plan, remaining))
    whole = estimate_time(plan, remaining, known(plan, remaining))
    assert set(cost.by_cell) == {first.key, second.key}
    assert cost.by_cell[first.key] == pytest.approx(whole.by_cell[first.key] - 4 * 0.25 - 2)
    assert cost.seconds < whole.seconds / 1.5
    assert estimate_time(plan, {}, known(plan, remaining)).seconds == 0
