"""Run the two commands of the README in full and measure the time of their parts.

    uv run python benchmarks/main_job.py                          # run --datasets all, drawn scenes
    uv run python benchmarks/main_job.py --data-root DATA         # and real CIFAR-10, profile quick
    uv run python benchmarks/main_job.py --plain-cpu              # as a CPU without AVX-512 does it

Each command runs in a separate process, into an empty folder, with timers around its parts. A timer
pauses while a nested timer runs. A backward pass is one call; so the additional time of an update
with text over a baseline update is distributed in proportion to the forward times.
Exits with 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

PLAIN = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
JOBS = {
    "stand-ins": (["run", "--datasets", "all", "--data", "standin"], 12 * 60, 0.8),
    "cifar10": (["run", "--datasets", "cifar10", "--profile", "quick", "--data", "real"], 900, 0.7),
}
INSIDE = "--inside"


def main() -> int:
    """Run the jobs and print wall time, accuracies and shares; return 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plain-cpu", action="store_true")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--job", choices=tuple(JOBS), action="append")
    args = parser.parse_args()
    jobs = args.job or (["stand-ins"] if args.data_root is None else list(JOBS))
    missed = False
    for job in jobs:
        command, most_s, least = JOBS[job]
        if job == "cifar10" and args.data_root is not None:
            command = [*command, "--data-root", str(args.data_root.resolve())]
        with tempfile.TemporaryDirectory() as folder:
            wall, clocks = _run(command, Path(folder), plain=args.plain_cpu)
            accuracies = _accuracies(Path(folder) / "run")
        print(f"{job}: {wall:.0f} s wall (bar {most_s} s), {clocks.pop('machine')}")
        for (dataset, arm), values in sorted(accuracies.items()):
            shown = " ".join(f"{value:.1%}" for value in values)
            print(f"  {dataset:10} {arm:10} accuracy {shown}")
        for name, seconds in sorted(_shares(clocks, wall).items(), key=lambda each: -each[1]):
            print(f"  {name:28} {seconds:7.1f} s {seconds / wall:6.1%}")
        worst = min(min(v) for (_, arm), v in accuracies.items() if arm == "baseline")
        missed |= wall > most_s or worst < least
    return int(missed)


def _run(command: list[str], folder: Path, *, plain: bool) -> tuple[float, dict[str, Any]]:
    clocks = folder / "clocks.json"
    environment = os.environ | (PLAIN if plain else {})
    words = [sys.executable, __file__, INSIDE, str(clocks), *command, "--out", str(folder / "run")]
    started = time.perf_counter()
    subprocess.run(words, check=True, env=environment, cwd=folder)
    return time.perf_counter() - started, json.loads(clocks.read_text(encoding="utf-8"))


def _accuracies(run: Path) -> dict[tuple[str, str], list[float]]:
    import pandas as pd

    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for path in sorted(run.glob("cells/*/rows.parquet")):
        rows = pd.read_parquet(path, columns=["dataset", "arm", "metric", "value"])
        rows = rows[rows["metric"] == "accuracy"]
        found[rows["dataset"].iloc[0], rows["arm"].iloc[0]].append(float(rows["value"].mean()))
    return found


class Clocks:
    """Seconds by name; a timer pauses while a nested timer runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._running: list[list[Any]] = []

    def around(self, name: str | Callable[..., str], function: Callable[..., Any]) -> Any:
        """Wrap `function` with a timer; `name` may be a function of its arguments."""

        @functools.wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            called = name if isinstance(name, str) else name(*args, **options)
            self._start(called)
            try:
                return function(*args, **options)
            finally:
                self._stop()

        return timed

    def _start(self, name: str) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1][0]] += now - self._running[-1][1]
        self._running.append([name, now])
        self.calls[name] += 1

    def _stop(self) -> None:
        now = time.perf_counter()
        name, since = self._running.pop()
        self.seconds[name] += now - since
        if self._running:
            self._running[-1][1] = now


def _inside(out: Path, command: list[str]) -> None:
    """Run the command line in this process with timers around its parts."""
    started = time.perf_counter()
    import lico_bench.bench.cell
    import lico_bench.bench.plan
    import lico_bench.evaluation.collector as collector
    import lico_bench.metrics.insertion_deletion as curve_metrics
    import lico_bench.report
    import lico_bench.training.session as session
    from lico_bench.cli.app import app
    from lico_bench.data import image_batches
    from lico_bench.runtime import native_precision, pick_device
    from lico_bench.saliency import SaliencyMethod
    from lico_bench.training import loop
    from lico_bench.training.lico_objective import LicoObjective

    clocks = Clocks()
    clocks.seconds["imports"] = time.perf_counter() - started
    targets: list[tuple[Any, str, str | Callable[..., str]]] = [
        (lico_bench.bench.plan, "describe_dataset", "reading or drawing images"),
        (lico_bench.bench.cell, "load_scored_images", "reading or drawing images"),
        (lico_bench.bench.cell, "load_training_data", "reading or drawing images"),
        (loop, "prepare", "preparing a training"),
        (session.Session, "_update", lambda self, *_a, **_o: f"update {self.recipe.arm}"),
        (session.Session, "_record_diagnostics", "gradients of single terms"),
        (LicoObjective, "_encode_prompts", "text forward"),
        (LicoObjective, "_transport", "transport forward"),
        (LicoObjective, "_manifold_matching", "manifold matching forward"),
        *((image_batches, name, "augmentation") for name in ("flip", "crop", "resized_crop")),
        (collector.Collector, "classify", "classifying"),
        (collector.Collector, "score", "scoring maps"),
        (SaliencyMethod, "maps", "explaining"),
        (curve_metrics, "perturbation_curves", "curves"),
        (lico_bench.bench.cell, "seal_cell", "checksums"),
        (lico_bench.report, "gather", "comparing the arms"),
        (lico_bench.report, "build_report", "writing the report"),
    ]
    with ExitStack() as stack:
        for owner, attribute, name in targets:
            timed = clocks.around(name, getattr(owner, attribute))
            stack.enter_context(patch.object(owner, attribute, timed))
        status = app(command, standalone_mode=False)
    if status not in (None, 0):
        raise SystemExit(status)
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    precision = native_precision(pick_device()).name
    machine = f"{capability}, {torch.get_num_threads()} threads, auto precision {precision}"
    found = {"seconds": clocks.seconds, "calls": clocks.calls, "machine": machine}
    out.write_text(json.dumps(found), encoding="utf-8")


def _shares(clocks: dict[str, Any], wall: float) -> dict[str, float]:
    """Return the seconds of each part; the network part of a LICO update is a baseline update."""
    seconds, calls = dict(clocks["seconds"]), clocks["calls"]
    forwards = {n: seconds.pop(n, 0.0) for n in list(seconds) if n.endswith(" forward")}
    updates = {n: seconds.pop(n) for n in list(seconds) if n.startswith("update ")}
    plain = updates.pop("update baseline", 0.0)
    each = plain / max(1, calls.get("update baseline", 1))
    network, beyond = plain, 0.0
    for name, spent in updates.items():
        network += each * calls[name]
        beyond += spent - each * calls[name]
    all_forward = sum(forwards.values())
    for name, spent in forwards.items():
        part = spent / all_forward if all_forward else 0.0
        seconds[name.removesuffix(" forward")] = spent + beyond * part
    seconds["network (convolutions)"] = network
    seconds["start, end and all else"] = wall - sum(seconds.values())
    return seconds


if __name__ == "__main__":
    if INSIDE in sys.argv:
        at = sys.argv.index(INSIDE)
        _inside(Path(sys.argv[at + 1]), sys.argv[at + 2 :])
    else:
        raise SystemExit(main())
