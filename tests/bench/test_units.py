"""What a run is made of: which work is the same, how often it is needed, and what is left of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lico_bench.bench import ExecutorOptions, execute, make_plan, units
from lico_bench.bench.checkpoints import Checkpoint
from lico_bench.bench.units import parts_of, training_left, training_unit
from lico_bench.store import RunFolder


def parts(plan, kind, left=None):
    left = training_left(plan, None) if left is None else left
    return [part for part in parts_of(plan, left) if part.unit.kind == kind]


def test_units_are_shared_by_seeds_and_told_apart_by_what_changes_their_time(suite):
    plan = make_plan(replace(suite, seeds=2))
    facts = plan.datasets["cifar10"]
    assert len({part.unit for part in parts(plan, units.TRAINING)}) == 2  # two arms
    assert len({part.unit for part in parts(plan, units.CLASSIFYING)}) == 1
    assert len(parts(plan, units.DRAWING)) == 1
    cell = plan.cells[0]
    for change in ({"batch_size": 16}, {"precision": "bfloat16"}, {"channels_last": False}):
        other = replace(cell, recipe=replace(cell.recipe, **change))
        assert training_unit(cell, facts) != training_unit(other, facts)
    fewer = replace(facts, class_names=facts.class_names[:2])
    assert training_unit(cell, facts) != training_unit(cell, fewer)
    longer = make_plan(replace(suite, metrics=("insertion", "road")))
    assert {p.unit for p in parts(plan, units.EXPLAINING)}.isdisjoint(
        p.unit for p in parts(longer, units.EXPLAINING)
    )


def test_counts_are_those_of_the_run(suite):
    plan = make_plan(suite)
    plain, lico = parts(plan, units.TRAINING)
    assert (plain.count, plain.epochs) == (4, 2)  # 64 images, batch 32, 2 epochs
    assert lico.unit.gigaflop > plain.unit.gigaflop > 0
    assert plain.unit.gigaflop * plain.count == pytest.approx(plan.cells[0].work.train_gigaflop)
    tested = plan.datasets["cifar10"].num_images("test")
    assert [part.count for part in parts(plan, units.CLASSIFYING)] == [tested, tested]
    assert [part.count for part in parts(plan, units.EXPLAINING)] == [4, 4]
    assert [part.count for part in parts(plan, units.DRAWING)] == [40]  # 2000 and 500 by 64
    assert [part.cell.recipe.arm for part in parts(plan, units.SETUP)] == ["lico"]


def test_a_batch_larger_than_the_split_is_counted_as_it_is(suite):
    plan = make_plan(replace(suite, changes={**suite.changes, "batch_size": 256}))
    part = parts(plan, units.TRAINING)[0]
    assert part.count == 2
    assert part.unit.gigaflop * 2 == pytest.approx(plan.cells[0].work.train_gigaflop)


def test_only_what_is_missing_is_left(suite, reporter, tmp_path):
    plan = make_plan(replace(suite, arms=("baseline",), seeds=3))
    run = execute(plan, tmp_path, options=ExecutorOptions(device="cpu"), reporter=reporter)
    assert training_left(plan, run) == {}
    assert parts_of(plan, {}) == []
    _, trained, begun = (run.cell(cell.key) for cell in plan.cells)
    trained.done.unlink()
    begun.done.unlink()
    begun.model.unlink()
    Checkpoint(begun).write({"epoch": 1, "weights": torch.zeros(3)})
    left = training_left(plan, run)
    assert left == {plan.cells[1].key: 0.0, plan.cells[2].key: 0.5}
    assert [part.count for part in parts(plan, units.TRAINING, left)] == [2.0]
    assert len(parts(plan, units.EXPLAINING, left)) == 2
    begun.checkpoint.write_bytes(b"torn")
    assert training_left(plan, run)[plan.cells[2].key] == 1.0


def test_of_a_folder_that_is_not_there_everything_is_left(suite, tmp_path):
    plan = make_plan(suite)
    assert set(training_left(plan, RunFolder(tmp_path / "none")).values()) == {1.0}
