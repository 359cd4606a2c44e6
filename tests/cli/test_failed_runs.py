"""How a run ends that did not go well: last lines and exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lico_bench.errors import TrainingError

TINY = (
    "run", "--datasets", "cifar10", "--profile", "smoke", "--data", "standin", "--device", "cpu",
    "--limit", "4", "--metrics", "insertion,deletion", "--set", "recipe.epochs=3",
    "--set", "recipe.train_limit=192", "--out", "run",
)  # fmt: skip
PROMISED_S = 10.0
MOMENTS = {"training": "cells/*/checkpoint.pt", "scoring": "cells/*/parts/*.rows.parquet"}


def test_the_last_lines_and_the_exit_code_name_the_cells_that_failed(call_cli, monkeypatch):
    def train(*_args, **_options):
        raise TrainingError("step 3: the loss is not finite")

    monkeypatch.setattr("lico_bench.bench.cell.train", train)
    done = call_cli(*TINY)
    assert done.returncode == 5
    *_, count, first, second, remedy = done.stdout.strip().splitlines()
    assert count == "2 of 2 cells failed:"
    for line, arm in ((first, "baseline"), (second, "lico")):
        assert f"-{arm}-s0-" in line
        assert line.endswith("in training: step 3: the loss is not finite")
    assert "Repeat the same command" in remedy


def results(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("model.safetensors", "rows.parquet", "curves.parquet", "gallery.parquet")
        for path in sorted(folder.glob(f"cells/*/{name}"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("stage", list(MOMENTS))
def test_a_preempted_run_exits_75_in_time_and_goes_on_to_the_same_bits(call_cli, stage: str):
    command = [sys.executable, "-m", "lico_bench", *TINY]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(Path("run").glob(MOMENTS[stage])) and process.poll() is None:
        time.sleep(0.01)
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - sent < PROMISED_S
    assert process.returncode == 75, errors
    assert "preempted" in errors
    assert "repeat the same command" in errors
    assert "Traceback" not in errors
    assert not list(Path("run").glob("cells/*/done.json"))
    assert call_cli(*TINY).returncode == 0
    Path("run").rename("resumed")
    assert call_cli(*TINY).returncode == 0
    assert results(Path("resumed")) == results(Path("run"))
    assert len(results(Path("run"))) == 8
    assert os.environ["OMP_NUM_THREADS"] == "1"  # what the bits depend on
