"""A real process, killed at random moments, goes on to the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

# What `run` does before it writes the report.
SCRIPT = """
import sys
from pathlib import Path
from rich.console import Console
from lico_bench.bench import Suite, execute, make_plan
from lico_bench.cli.progress import LineReporter

suite = Suite(
    ("cifar10",), seeds=1, profile="smoke", methods=("grad_cam", "random_map"), limit=16,
    data="standin", changes={"epochs": 4, "train_limit": 128},
)
reporter = LineReporter(Console())
execute(make_plan(suite), Path(sys.argv[1]), device="cpu", executor="local", reporter=reporter)
"""
KILLS = 2


def start(out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # With one thread no sum can change its order; a waiting one leaves the core to others.
        env={**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def results(out: Path) -> dict[str, bytes]:
    """Weights and rows of each cell."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for name in ("model.safetensors", "rows.parquet", "curves.parquet")
        for path in sorted(out.glob(f"cells/*/{name}"))
    }


def test_a_run_killed_at_random_steps_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = start(tmp_path / "whole")
    began = time.monotonic()
    assert whole.wait(300) == 0
    took_s = time.monotonic() - began
    rng, killed = random.Random(0), 0
    while killed < KILLS:
        process = start(tmp_path / "part")
        # Imports take the first part of a process's life; the work lies after.
        try:
            process.wait(rng.uniform(0.35, 0.75) * took_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        if process.returncode == 0:
            break
    last = start(tmp_path / "part")
    assert last.wait(300) == 0
    assert killed >= 1
    expected = results(tmp_path / "whole")
    assert len(expected) == 6
    assert results(tmp_path / "part") == expected
