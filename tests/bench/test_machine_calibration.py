"""Timings of a machine: stored under its facts, scaled where a unit was not timed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from lico_bench.bench.calibration import (
    Calibration,
    Timing,
    cache_folder,
    read_calibration,
    write_calibration,
)
from lico_bench.bench.units import STORE, TRAINING, Unit
from lico_bench.errors import BrokenFileError

CPU = torch.device("cpu")


def unit(network: str, what: str, gigaflop: float = 1.0) -> Unit:
    return Unit(TRAINING, network, what, "", gigaflop)


def test_what_was_timed_is_found_again(tmp_path):
    empty = read_calibration(CPU, tmp_path)
    assert not empty.timings
    kept = empty.with_timings({unit("wrn", "a"): Timing(0.5, 2.0, 0.1)})
    write_calibration(kept, tmp_path)
    assert read_calibration(CPU, tmp_path) == kept


def test_timings_of_another_machine_are_not_read(tmp_path):
    here = read_calibration(CPU, tmp_path)
    threads = here.machine["threads"]
    other = replace(here, machine={**here.machine, "threads": f"{threads}1"})
    write_calibration(other.with_timings({unit("wrn", "a"): Timing(0.5, 2.0)}), tmp_path)
    assert not read_calibration(CPU, tmp_path).timings


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: stored.update(format=99),
        lambda stored: stored["timings"].update({"a | b | c | d": {"seconds": -1}}),
        lambda stored: stored["timings"].update({"a | b | c | d": {"seconds": "soon"}}),
        lambda stored: stored["timings"].update(a={"seconds": 1}),
        lambda stored: stored.update(timings=[1]),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(damage, tmp_path):
    path = write_calibration(read_calibration(CPU, tmp_path), tmp_path)
    stored = json.loads(path.read_text())
    damage(stored)
    path.write_text(json.dumps(stored))
    with pytest.raises(BrokenFileError, match="delete it and repeat the command with --calibrate"):
        read_calibration(CPU, tmp_path)


def test_the_file_lies_where_the_user_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "lico-bench"


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
