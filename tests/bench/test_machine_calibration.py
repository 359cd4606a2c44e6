"""Timings of a machine: stored under its facts, scaled where a unit was not timed."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from lico_bench.bench import make_plan
from lico_bench.bench.calibration import (
    Calibration,
    FixedCosts,
    Timing,
    cache_folder,
    classifying_unit,
    explaining_unit,
    loading_unit,
    read_calibration,
    training_unit,
    write_calibration,
)
from lico_bench.errors import BrokenFileError

CPU = torch.device("cpu")
FIXED = FixedCosts(start=3.0, first=2.0, cell=0.5, text_cell=1.5, report=2.0, plot=0.5)


def test_what_was_timed_is_found_again(tmp_path):
    empty = read_calibration(CPU, tmp_path)
    assert empty.fixed is None
    assert not empty.timings
    kept = replace(empty, fixed=FIXED).with_timing("train | wrn | a", Timing(0.5, 2.0, 0.1))
    write_calibration(kept, tmp_path)
    assert read_calibration(CPU, tmp_path) == kept


def test_timings_of_another_machine_are_not_read(tmp_path):
    here = read_calibration(CPU, tmp_path)
    threads = here.machine["threads"]
    other = replace(here, machine={**here.machine, "threads": f"{threads}1"}, fixed=FIXED)
    write_calibration(other, tmp_path)
    assert read_calibration(CPU, tmp_path).fixed is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: stored.update(format=99),
        lambda stored: stored["fixed"].pop("plot"),
        lambda stored: stored["fixed"].update(plot=-1),
        lambda stored: stored["timings"].update(a={"seconds": "soon", "gigaflop": 1}),
        lambda stored: stored.update(timings=[1]),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(damage, tmp_path):
    path = write_calibration(replace(read_calibration(CPU, tmp_path), fixed=FIXED), tmp_path)
    stored = json.loads(path.read_text())
    damage(stored)
    path.write_text(json.dumps(stored))
    with pytest.raises(BrokenFileError, match="delete it and repeat the command with --calibrate"):
        read_calibration(CPU, tmp_path)


def test_the_file_lies_where_the_user_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "lico-bench"


def test_a_unit_that_was_not_timed_is_scaled_from_the_same_network():
    known = Calibration(
        {},
        timings={
            "train | small | one": Timing(1.0, 10.0, per_epoch=2.0),
            "train | large | one": Timing(1.0, 100.0),
            "explain | small | one": Timing(9.0, 1.0),
        },
    )
    found, is_known = known.timing("train | small | two", 20.0)
    assert not is_known
    assert found == Timing(2.0, 20.0, per_epoch=4.0)
    assert known.timing("train | small | one", 20.0) == (Timing(1.0, 10.0, 2.0), True)


def test_a_network_that_was_not_timed_takes_the_median_speed_of_its_kind():
    timings = {f"train | n{n} | x": Timing(float(n), 1.0) for n in (1, 2, 9)}
    found, is_known = Calibration({}, timings=timings).timing("train | other | x", 3.0)
    assert (found.seconds, is_known) == (6.0, False)


def test_a_kind_that_was_never_timed_is_not_guessed():
    found, is_known = Calibration({}).timing("explain | n | x", 3.0)
    assert math.isnan(found.seconds)
    assert not is_known


def test_units_are_shared_by_seeds_and_told_apart_by_what_changes_their_time(suite):
    plan = make_plan(replace(suite, seeds=2))
    facts = plan.datasets["cifar10"]
    assert len({training_unit(cell, facts) for cell in plan.cells}) == 2  # two arms
    assert len({classifying_unit(cell, facts) for cell in plan.cells}) == 1
    assert (
        len({loading_unit(cell, facts, s) for cell in plan.cells for s in ("train", "test")}) == 2
    )
    cell = plan.cells[0]
    other = replace(cell, recipe=replace(cell.recipe, batch_size=16))
    assert training_unit(cell, facts) != training_unit(other, facts)
    longer = make_plan(replace(suite, metrics=("insertion", "road")))
    unit = explaining_unit(cell, facts, plan.question, "grad_cam")
    assert unit != explaining_unit(cell, facts, longer.question, "grad_cam")
