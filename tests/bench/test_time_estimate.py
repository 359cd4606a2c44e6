"""Units of a run: which are shared, how often they are needed, what remains, and their seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lico_bench.bench import ExecutorOptions, execute, make_plan
from lico_bench.bench.interruption import Checkpoint
from lico_bench.bench.time_estimate import (
    CHECKPOINT,
    CLASSIFYING,
    DRAWING,
    EXPLAINING,
    PLOT,
    REPORT,
    ROW,
    SETUP,
    STORE,
    STORING,
    TRAINING,
    Calibration,
    Timing,
    Unit,
    estimate_time,
    num_plots,
    remaining_training,
    training_unit,
    work_items,
)
from lico_bench.store import RunFolder

SECONDS = {
    TRAINING: 0.25, CLASSIFYING: 0.01, EXPLAINING: 0.5, DRAWING: 0.1,
    SETUP: 2.0, STORING: 0.75, CHECKPOINT: 0.0, REPORT: 3.0,
    PLOT: 0.5, ROW: 0.0,
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
    assert cost.by_stage["report"] == pytest.approx(3.0 + 0.5 * num_plots(plan))
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


def items(plan, kind, remaining=None):
    remaining = remaining_training(plan, None) if remaining is None else remaining
    return [item for item in work_items(plan, remaining) if item.unit.kind == kind]


def test_units_are_shared_by_seeds_and_told_apart_by_what_changes_their_time(suite):
    plan = make_plan(replace(suite, seeds=2))
    facts = plan.datasets["cifar10"]
    assert len({item.unit for item in items(plan, TRAINING)}) == 2  # two arms
    assert len({item.unit for item in items(plan, CLASSIFYING)}) == 1
    assert len(items(plan, DRAWING)) == 1
    cell = plan.cells[0]
    for change in ({"batch_size": 16}, {"precision": "bfloat16"}, {"channels_last": False}):
        other = replace(cell, recipe=replace(cell.recipe, **change))
        assert training_unit(cell, facts) != training_unit(other, facts)
    fewer = replace(facts, class_names=facts.class_names[:2])
    assert training_unit(cell, facts) != training_unit(cell, fewer)
    longer = make_plan(replace(suite, metrics=("insertion", "road")))
    assert {p.unit for p in items(plan, EXPLAINING)}.isdisjoint(
        p.unit for p in items(longer, EXPLAINING)
    )


def test_counts_are_those_of_the_run(suite):
    plan = make_plan(suite)
    plain, lico = items(plan, TRAINING)
    assert (plain.count, plain.epochs) == (4, 2)  # 64 images, batch 32, 2 epochs
    assert lico.unit.gigaflop > plain.unit.gigaflop > 0
    assert plain.unit.gigaflop * plain.count == pytest.approx(plan.cells[0].cost.train_gigaflop)
    tested = plan.datasets["cifar10"].num_images("test")
    assert [item.count for item in items(plan, CLASSIFYING)] == [tested, tested]
    assert [item.count for item in items(plan, EXPLAINING)] == [4, 4]
    assert [item.count for item in items(plan, DRAWING)] == [40]  # 2000 and 500 by 64
    assert [item.cell.recipe.arm for item in items(plan, SETUP)] == ["lico"]


def test_a_batch_larger_than_the_split_is_counted_as_it_is(suite):
    plan = make_plan(replace(suite, changes={**suite.changes, "batch_size": 256}))
    item = items(plan, TRAINING)[0]
    assert item.count == 2
    assert item.unit.gigaflop * 2 == pytest.approx(plan.cells[0].cost.train_gigaflop)


def test_only_what_is_missing_is_left(suite, reporter, tmp_path):
    plan = make_plan(replace(suite, arms=("baseline",), seeds=3))
    run = execute(plan, tmp_path, options=ExecutorOptions(device="cpu"), reporter=reporter)
    assert remaining_training(plan, run) == {}
    assert work_items(plan, {}) == []
    _, trained, begun = (run.cell(cell.key) for cell in plan.cells)
    trained.done.unlink()
    begun.done.unlink()
    begun.model.unlink()
    Checkpoint(begun).write({"epoch": 1, "weights": torch.zeros(3)})
    remaining = remaining_training(plan, run)
    assert remaining == {plan.cells[1].key: 0.0, plan.cells[2].key: 0.5}
    assert [item.count for item in items(plan, TRAINING, remaining)] == [2.0]
    assert len(items(plan, EXPLAINING, remaining)) == 2
    begun.checkpoint.write_bytes(b"torn")
    assert remaining_training(plan, run)[plan.cells[2].key] == 1.0


def test_of_a_folder_that_is_not_there_everything_is_left(suite, tmp_path):
    plan = make_plan(suite)
    assert set(remaining_training(plan, RunFolder(tmp_path / "none")).values()) == {1.0}


def unit(network: str, what: str, gigaflop: float = 1.0) -> Unit:
    return Unit(TRAINING, network, what, "", gigaflop)


def test_a_unit_that_was_not_timed_is_scaled_from_the_one_most_like_it():
    known = Calibration({}).with_timings(
        {
            unit("small", "baseline"): Timing(1.0, 10.0, per_epoch=2.0),
            unit("small", "lico"): Timing(3.0, 10.0),
            unit("large", "baseline"): Timing(1.0, 100.0),
            Unit("explain", "small", "baseline"): Timing(9.0, 1.0),
        }
    )
    assert known.timing(unit("small", "cgc", 20.0)) == Timing(4.0, 20.0, per_epoch=4.0)
    assert known.timing(unit("other", "lico", 20.0)) == Timing(6.0, 20.0)
    assert known.timing(unit("small", "baseline", 20.0)) == Timing(1.0, 10.0, 2.0)


def test_what_is_like_nothing_takes_the_median_of_its_kind():
    known = Calibration({}).with_timings(
        {unit(f"n{n}", "x"): Timing(float(n), 1) for n in (1, 2, 9)}
    )
    assert known.timing(unit("other", "y", 3.0)).seconds == 6.0


def test_a_kind_that_was_never_timed_takes_the_speed_of_the_machine():
    assert Calibration({}, speed=2.0).timing(unit("n", "x", 3.0)).seconds == 1.5
    assert Calibration({}, slowness=2.0).timing(STORE).seconds == 2 * STORE.usual_s


def test_a_kind_that_was_never_timed_takes_the_speed_of_its_network_if_that_was():
    known = Calibration({}, speed=2.0).with_timings(
        {
            Unit("classify", "n 32x32", "", "", 5.0): Timing(1.0, 5.0),
            Unit("classify", "m 32x32", "", "", 5.0): Timing(9.0, 5.0),
            Unit("draw", "cifar10", "", "", 5.0): Timing(99.0, 5.0),
        }
    )
    assert known.timing(unit("n 32x32 float32", "x", 10.0)).seconds == 2.0
