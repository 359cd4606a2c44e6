"""Work units of a run: which work is shared, how often it is needed, and what remains."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lico_bench.bench import ExecutorOptions, execute, make_plan, units
from lico_bench.bench.interruption import Checkpoint
from lico_bench.bench.units import remaining_training, training_unit, work_items
from lico_bench.store import RunFolder


def items(plan, kind, remaining=None):
    remaining = remaining_training(plan, None) if remaining is None else remaining
    return [item for item in work_items(plan, remaining) if item.unit.kind == kind]


def test_units_are_shared_by_seeds_and_told_apart_by_what_changes_their_time(suite):
    plan = make_plan(replace(suite, seeds=2))
    facts = plan.datasets["cifar10"]
    assert len({item.unit for item in items(plan, units.TRAINING)}) == 2  # two arms
    assert len({item.unit for item in items(plan, units.CLASSIFYING)}) == 1
    assert len(items(plan, units.DRAWING)) == 1
    cell = plan.cells[0]
    for change in ({"batch_size": 16}, {"precision": "bfloat16"}, {"channels_last": False}):
        other = replace(cell, recipe=replace(cell.recipe, **change))
        assert training_unit(cell, facts) != training_unit(other, facts)
    fewer = replace(facts, class_names=facts.class_names[:2])
    assert training_unit(cell, facts) != training_unit(cell, fewer)
    longer = make_plan(replace(suite, metrics=("insertion", "road")))
    assert {p.unit for p in items(plan, units.EXPLAINING)}.isdisjoint(
        p.unit for p in items(longer, units.EXPLAINING)
    )


def test_counts_are_those_of_the_run(suite):
    plan = make_plan(suite)
    plain, lico = items(plan, units.TRAINING)
    assert (plain.count, plain.epochs) == (4, 2)  # 64 images, batch 32, 2 epochs
    assert lico.unit.gigaflop > plain.unit.gigaflop > 0
    assert plain.unit.gigaflop * plain.count == pytest.approx(plan.cells[0].cost.train_gigaflop)
    tested = plan.datasets["cifar10"].num_images("test")
    assert [item.count for item in items(plan, units.CLASSIFYING)] == [tested, tested]
    assert [item.count for item in items(plan, units.EXPLAINING)] == [4, 4]
    assert [item.count for item in items(plan, units.DRAWING)] == [40]  # 2000 and 500 by 64
    assert [item.cell.recipe.arm for item in items(plan, units.SETUP)] == ["lico"]


def test_a_batch_larger_than_the_split_is_counted_as_it_is(suite):
    plan = make_plan(replace(suite, changes={**suite.changes, "batch_size": 256}))
    item = items(plan, units.TRAINING)[0]
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
    assert [item.count for item in items(plan, units.TRAINING, remaining)] == [2.0]
    assert len(items(plan, units.EXPLAINING, remaining)) == 2
    begun.checkpoint.write_bytes(b"torn")
    assert remaining_training(plan, run)[plan.cells[2].key] == 1.0


def test_of_a_folder_that_is_not_there_everything_is_left(suite, tmp_path):
    plan = make_plan(suite)
    assert set(remaining_training(plan, RunFolder(tmp_path / "none")).values()) == {1.0}
