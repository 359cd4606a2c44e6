"""`lico-bench run`: its output, its files, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.own_process import LONGER, TINY, children_cpu_s, in_own_process


def test_a_run_prints_a_table_with_intervals_and_names_the_report(finished):
    output = (finished / "output.txt").read_text()
    for word in ("STAND-IN", "Accuracy", "Insertion", "Deletion", "Overall", "95 % interval"):
        assert word in output
    assert "run/report/report.html" in output
    assert "Traceback" not in output


def test_a_run_leaves_page_tables_and_plots(finished):
    report = finished / "run" / "report"
    assert (report / "report.html").stat().st_size > 10_000
    for pattern in ("tables/*.tex", "tables/*.csv", "figures/*.png", "figures/*.pdf"):
        assert list(report.glob(pattern)), pattern


@pytest.mark.slow
def test_a_finished_run_answers_quickly(finished, monkeypatch):
    monkeypatch.chdir(finished)
    before = children_cpu_s()
    done = in_own_process(*TINY)
    assert done.returncode == 0
    assert done.stdout.count("already done") == 2
    # The bar is 10 s on a machine that is not shared; a busy one takes more cycles for the same.
    assert children_cpu_s() - before < 20


@pytest.mark.slow
def test_an_interrupt_leaves_a_run_that_goes_on():
    command = [sys.executable, "-m", "lico_bench", *TINY]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, children inherit that the signal is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(Path("run").glob("cells/*/recipe.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "repeat the same command" in errors
    assert "Traceback" not in errors
    done = in_own_process(*TINY)
    assert done.returncode == 0, done.stderr


PROMISED_S = 10.0
MOMENTS = {"training": "cells/*/checkpoint.pt", "scoring": "cells/*/parts/*.rows.parquet"}


def results(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("model.safetensors", "rows.parquet", "curves.parquet", "gallery.parquet")
        for path in sorted(folder.glob(f"cells/*/{name}"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("stage", list(MOMENTS))
def test_a_preempted_run_exits_75_in_time_and_goes_on_to_the_same_bits(call_cli, stage: str):
    command = [sys.executable, "-m", "lico_bench", *LONGER]
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
    assert call_cli(*LONGER).returncode == 0
    Path("run").rename("resumed")
    assert call_cli(*LONGER).returncode == 0
    assert results(Path("resumed")) == results(Path("run"))
    assert len(results(Path("run"))) == 8
    assert os.environ["OMP_NUM_THREADS"] == "1"  # what the bits depend on
