"""Overhead of Ray: start, an empty task, and a small run compared with the local executor.

There is no limit: the figures show how large a cell must be for a cluster. Needs the extra `ray`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one cell per core

from rich.console import Console

from lico_bench.bench import ExecutorOptions, Suite, execute, make_plan
from lico_bench.bench.executors.ray_session import connect_ray
from lico_bench.cli.progress import LineReporter

TASKS = 1000
SUITE = Suite(
    ("cifar10",), seeds=1, profile="smoke", methods=("grad_cam", "random_map"), limit=16,
    data="standin", changes={"epochs": 4, "train_limit": 128, "backbone": "wrn_10_1"},
)  # fmt: skip


def nothing() -> None:
    """An empty task."""


def measure_tasks() -> None:
    """Print the time of starting a local cluster and of its tasks."""
    started = time.perf_counter()
    with connect_ray("local") as ray:
        print(f"start {time.perf_counter() - started:.1f} s")
        empty = ray.remote(nothing)
        started = time.perf_counter()
        ray.get(empty.remote())
        print(f"first task (a process starts) {time.perf_counter() - started:.2f} s")
        started = time.perf_counter()
        for _ in range(TASKS // 10):
            ray.get(empty.remote())
        each = (time.perf_counter() - started) / (TASKS // 10)
        print(f"empty task, one after the other {1000 * each:.2f} ms")
        started = time.perf_counter()
        ray.get([empty.remote() for _ in range(TASKS)])
        print(
            f"empty task, {TASKS} at once {1000 * (time.perf_counter() - started) / TASKS:.2f} ms"
        )
        started = time.perf_counter()
    print(f"end {time.perf_counter() - started:.1f} s")


def measure_run(executor: str, workers: int, out: Path) -> dict[str, bytes]:
    """Print the duration of the run; return its weights and rows."""
    options = ExecutorOptions(device="cpu", workers=workers, address="local")
    started = time.perf_counter()
    reporter = LineReporter(Console(quiet=True))
    execute(make_plan(SUITE), out, executor=executor, options=options, reporter=reporter)
    print(f"2 cells, {executor}, workers {workers}: {time.perf_counter() - started:.1f} s")
    return {
        str(path.relative_to(out)): path.read_bytes()
        for name in ("model.safetensors", "rows.parquet", "curves.parquet")
        for path in sorted(out.glob(f"cells/*/{name}"))
    }


def main() -> int:
    """Measure and print; return 1 if the results of the executors differ."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [
            measure_run(executor, workers, Path(folder) / f"{executor}{workers}")
            for executor, workers in (("local", 1), ("local", 2), ("ray", 1))
        ]
    measure_tasks()
    same = found[0] == found[1] == found[2]
    print("the same bits" if same else "DIFFERENT results")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
