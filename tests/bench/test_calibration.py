"""Timings of a machine, stored under its facts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from lico_bench.bench.calibration import cache_folder, read_calibration, write_calibration
from lico_bench.bench.time_estimate import TRAINING, Timing, Unit
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
