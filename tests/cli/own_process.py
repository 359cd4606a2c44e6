"""The command line in a process of its own, and the words of a tiny run."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

TINY = (
    "run", "--datasets", "cifar10", "--profile", "smoke", "--data", "standin", "--limit", "4",
    "--methods", "grad_cam", "--out", "run", "--set", "recipe.train_limit=64",
    "--set", "recipe.epochs=1", "--set", "recipe.backbone=wrn_10_1", "--device", "cpu",
    "--text-encoder", "random",
)  # fmt: skip
LONGER = (
    "run", "--datasets", "cifar10", "--profile", "smoke", "--data", "standin", "--device", "cpu",
    "--limit", "4", "--metrics", "insertion,deletion", "--set", "recipe.epochs=3",
    "--set", "recipe.train_limit=192", "--out", "run",
)  # fmt: skip


def in_own_process(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lico_bench", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


def children_cpu_s() -> float:
    """Seconds that ended child processes computed: a busy machine changes when, not how long."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
