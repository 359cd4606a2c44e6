"""A small fault table: killed, preempted, out of disk, shared, damaged, and nothing lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nothing_is_lost_whatever_is_injected():
    command = [sys.executable, str(FAULTS), "--kills", "4", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert len(lines) == 6
    assert all("| nothing |" in line for line in lines)
