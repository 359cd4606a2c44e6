"""A real process, killed at random moments, goes on to the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from lico_bench.bench import ExecutorOptions, Suite, execute, make_plan
from lico_bench.cli.progress import LineReporter

# What `run` does before it writes the report.
SCRIPT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from {Path(__file__).stem} import execute_suite
print("ready", flush=True)
execute_suite(Path(sys.argv[1]))
"""
KILLS = 2
BEFORE_WORK = 0.05  # of the time that the work takes: then there is something to be lost


def execute_suite(out: Path) -> None:
    suite = Suite(
        ("cifar10",), seeds=1, profile="smoke", methods=("grad_cam", "random_map"), limit=16,
        data="standin", changes={"epochs": 4, "train_limit": 128},
    )  # fmt: skip
    reporter = LineReporter(Console(quiet=True))
    options = ExecutorOptions(device="cpu")
    execute(make_plan(suite), out, options=options, reporter=reporter)


def start(out: Path) -> subprocess.Popen[bytes]:
    """A process that is about to work: its imports are done."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def results(out: Path) -> dict[str, bytes]:
    """Weights and rows of each cell."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for name in ("model.safetensors", "rows.parquet", "curves.parquet")
        for path in sorted(out.glob(f"cells/*/{name}"))
    }


@pytest.mark.slow
def test_a_run_killed_at_random_steps_ends_with_the_same_bits(tmp_path: Path) -> None:
    began = time.monotonic()
    execute_suite(tmp_path / "whole")
    took_s = time.monotonic() - began
    rng = random.Random(0)
    for _ in range(KILLS):
        process = start(tmp_path / "part")
        time.sleep(rng.uniform(BEFORE_WORK, 0.4) * took_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "part").glob("cells/*/done.json"))) < 2
    execute_suite(tmp_path / "part")
    expected = results(tmp_path / "whole")
    assert len(expected) == 6
    assert results(tmp_path / "part") == expected
