"""Fault injection: a run survives kills, preemption, a full disk and damaged files without loss.

A small run of the command line is interrupted at random moments and started again. At the end,
weights, scores, curves, tables, plots and page must have the bits of an undisturbed run. Prints the
fault table in Markdown. Exits with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # bits depend on the number of threads

from faulty_runs import (
    LOOK_EVERY_S,
    Run,
    differences,
    finish,
    limit_file_size,
    names_in,
    results,
    stage_of,
    start,
)

PREEMPTED, BAD_INPUT = 75, 2
MAX_EXIT_S = 10.0  # from SIGTERM to the exit
STAGES = ("training", "explaining and scoring", "writing", "reporting", "starting")
YEAR_S = 365 * 86400.0


@dataclass
class Outcome:
    """One line of the table.

    Attributes:
        injected: number and stage of the faults.
        lost: one message for each loss or unexpected behaviour.
    """

    fault: str
    injected: str = ""
    lost: list[str] = field(default_factory=list)
    note: str = ""

    def line(self) -> str:
        """Return the line in Markdown."""
        lost = "nothing" if not self.lost else "; ".join(self.lost)
        return f"| {self.fault} | {self.injected} | {lost} | {self.note} |"


@dataclass
class Bench:
    """Root of the run folders, expected results, and duration of an undisturbed run."""

    root: Path
    rng: random.Random
    expected: dict[str, Any] = field(default_factory=dict)
    took_s: float = 0.0
    folders: int = 0

    def folder(self) -> Path:
        """Return the path of a new run folder; all have the same name, as it is in the report."""
        self.folders += 1
        return self.root / f"{self.folders:03d}" / "run"

    def copy_of(self, folder: Path) -> Path:
        """Copy a run folder to a new path."""
        copied = self.folder()
        shutil.copytree(folder, copied)
        return copied

    def check(self, run: Run, outcome: Outcome, what: str, *, code: int = 0) -> None:
        """Record the differences between a finished run and an undisturbed one."""
        if run.code != code:
            outcome.lost.append(f"{what}: exit {run.code} ({run.message()[-200:]})")
        elif other := differences(self.expected, run.folder):
            outcome.lost.append(f"{what}: {len(other)} files differ, {other[0]}")
        else:
            shutil.rmtree(run.folder.parent)


def killed(bench: Bench, kills: int) -> Outcome:
    """Kill runs at random moments, each stage in turn, and resume them to their end."""
    outcome, hit = Outcome("`kill -9`"), Counter[str]()
    folder = bench.folder()
    while sum(hit.values()) < kills:
        wanted = STAGES[sum(hit.values()) % len(STAGES)]
        run = start(folder)
        stage = _kill_in(run, wanted, bench)
        if stage is None:  # it ended before
            bench.check(run, outcome, "resumed")
            folder = bench.folder()
        else:
            hit[stage] += 1
    bench.check(finish(folder), outcome, "resumed")
    outcome.injected = f"{sum(hit.values())} times: " + ", ".join(
        f"{count} {stage}" for stage, count in hit.most_common()
    )
    return outcome


def preempted(bench: Bench, times: int) -> Outcome:
    """Send SIGTERM in each stage: exit 75 within `MAX_EXIT_S`, and the run can be resumed."""
    outcome, hit, slowest = Outcome("SIGTERM"), Counter[str](), 0.0
    for wanted in (STAGES * times)[:times]:
        run = start(bench.folder())
        if not _reach(run, wanted, bench):
            bench.check(run, outcome, "undisturbed")
            continue
        stage, sent = stage_of(run.folder), time.monotonic()
        run.send(signal.SIGTERM)
        code, took = run.wait(), time.monotonic() - sent
        slowest = max(slowest, took)
        hit[stage] += 1
        if code not in (PREEMPTED, 0) or took > MAX_EXIT_S:
            outcome.lost.append(f"{stage}: exit {code} after {took:.1f} s ({run.message()[-200:]})")
        bench.check(finish(run.folder), outcome, f"resumed after {stage}")
    outcome.injected = f"{sum(hit.values())} times: " + ", ".join(
        f"{count} {stage}" for stage, count in hit.most_common()
    )
    outcome.note = f"exit 75 after at most {slowest:.1f} s"
    return outcome


def out_of_disk(bench: Bench, times: int) -> Outcome:
    """Run on a file system that is full after a part of the run's output."""
    outcome = Outcome("full disk")
    total = sum(p.stat().st_size for p in _done(bench).rglob("*") if p.is_file())
    kinds = Counter[str]()
    for turn in range(times):
        size = int(total * (0.05 + 0.9 * turn / times))
        with _small_disk(bench, size) as (folder, grow, kind):
            full = partial(limit_file_size, max(size // 8, 4096)) if kind == "file size" else None
            run = start(folder, **({} if full is None else {"prepare": full}))
            run.wait()
            kinds[kind] += 1
            if run.code != BAD_INPUT or "not enough disk space" not in run.message():
                outcome.lost.append(f"at {size:,} bytes: exit {run.code} ({run.message()[-200:]})")
            grow()
            resumed = finish(folder)
            if resumed.code or (other := differences(bench.expected, folder)):
                message = resumed.message()[-200:] if resumed.code else other[0]
                outcome.lost.append(f"resumed after {size:,} bytes: {message}")
    outcome.injected = ", ".join(f"{count} times ({kind})" for kind, count in kinds.items())
    outcome.note = "exit 2 and a sentence that names the file"
    return outcome


def two_at_once(bench: Bench, times: int) -> Outcome:
    """Start a second process on the folder: it exits with a message, or waits."""
    outcome = Outcome("two processes on one folder")
    for turn in range(times):
        folder = bench.folder()
        first = start(folder)
        _reach(first, "training", bench)
        second = start(folder, *(["--wait"] if turn % 2 else []))
        waited = second.wait()
        message = second.message()
        if "another process" not in message or waited != (0 if turn % 2 else BAD_INPUT):
            outcome.lost.append(f"second process: exit {waited} ({message[-200:]})")
        first.wait()
        bench.check(first, outcome, "first process")
    outcome.injected = f"{times} times"
    outcome.note = "the second one exits 2 with a sentence, or waits (`--wait`)"
    return outcome


def jumping_clock(bench: Bench, times: int) -> Outcome:
    """Let the clock jump by up to a year at every reading, and give files random dates."""
    outcome = Outcome("clock that jumps")
    for _ in range(times):
        folder, seed = bench.folder(), bench.rng.random()
        run = start(folder, prepare=partial(_loosen_clock, seed))
        _kill_in(run, bench.rng.choice(STAGES[1:]), bench)
        for path in folder.rglob("*"):
            date = time.time() + bench.rng.uniform(-YEAR_S, YEAR_S)
            os.utime(path, (date, date))
        again = start(folder, prepare=partial(_loosen_clock, seed))
        again.wait()
        bench.check(again, outcome, "resumed")
    outcome.injected = f"{times} runs, killed and resumed"
    outcome.note = "by up to a year both ways, at every look; stored files of any date"
    return outcome


def damaged(bench: Bench, only: int) -> Outcome:
    """Flip a bit of, cut, and replace every kind of file; `only` 0 means all combinations."""
    outcome, count = Outcome("damaged file"), 0
    finished, part = _done(bench), _interrupted(bench)
    kinds = {path.name: finished for path in sorted(finished.glob("cells/*/*")) if path.is_file()}
    kinds |= {"manifest.json": finished, "report.html": finished, "means.csv": finished}
    kinds |= dict.fromkeys(("checkpoint.pt", "checkpoint.pt.sha256"), part)
    kinds |= {path.name: part for path in part.glob("cells/*/parts/*")}
    trials = [(name, source, harm) for name, source in kinds.items() for harm in HARMS]
    if only:
        trials = bench.rng.sample(trials, only)
    for name, source, harm in trials:
        folder = bench.copy_of(source)
        paths = sorted(folder.rglob(name))
        if not paths:
            continue
        path = bench.rng.choice(paths)
        HARMS[harm](path, bench.rng)
        count += 1
        run = finish(folder)
        is_reported = name in names_in(run.message()) or "report" in path.parts
        if not is_reported and path.is_file():
            outcome.lost.append(f"{harm} {name}: not named")
        bench.check(run, outcome, f"{harm} {name}")
    outcome.injected = f"{count} times: {len(kinds)} kinds of file, each {', '.join(HARMS)}"
    outcome.note = "named, quarantined, recomputed"
    return outcome


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def _replace(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(rng.randrange(1, 5000)))


HARMS: dict[str, Callable[[Path, random.Random], None]] = {
    "flipped": _flip,
    "cut": _cut,
    "foreign": _replace,
}


def _reach(run: Run, stage: str, bench: Bench) -> bool:
    """Wait until a run is in `stage`, plus a random pause; return False if it ended before."""
    while run.poll() is None and stage_of(run.folder) != stage:
        time.sleep(LOOK_EVERY_S)
    # A pause would be longer than the writing of a file.
    pause = 0.0 if stage == "writing" else bench.rng.uniform(0, 0.15 * bench.took_s)
    until = time.monotonic() + pause
    while run.poll() is None and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
    return run.poll() is None


def _kill_in(run: Run, wanted: str, bench: Bench) -> str | None:
    """Kill a run in stage `wanted`; return its actual stage, or None if it ended before."""
    if not _reach(run, wanted, bench):
        return None
    run.send(signal.SIGKILL)
    run.wait()
    return stage_of(run.folder)


def _loosen_clock(seed: float) -> None:
    rng, real = random.Random(seed), time.time
    time.time = lambda: real() + rng.uniform(-YEAR_S, YEAR_S)


@contextmanager
def _small_disk(bench: Bench, size: int) -> Iterator[tuple[Path, Callable[[], None], str]]:
    """Yield a run folder on a file system of `size` bytes, a function to enlarge it, its kind."""
    folder = bench.folder()
    disk = folder.parent
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={max(size, 65536)}", "tmpfs", str(disk)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        if is_mounted:
            bigger = ["mount", "-o", "remount,size=256m", str(disk)]
            yield folder, lambda: subprocess.run(bigger, check=True) and None, "tmpfs"
        else:
            yield folder, lambda: None, "file size"
    finally:
        if is_mounted:
            subprocess.run(["umount", str(disk)], check=True)


def _done(bench: Bench) -> Path:
    return bench.root / "undisturbed" / "run"


def _interrupted(bench: Bench) -> Path:
    """Return a run killed with a checkpoint of one model and score parts of another."""
    folder = bench.root / "interrupted" / "run"
    run = start(folder)
    while run.poll() is None and not list(folder.glob("cells/*/checkpoint.pt")):
        time.sleep(LOOK_EVERY_S)
    run.send(signal.SIGKILL)
    run.wait()
    cell = next(folder.glob("cells/*/checkpoint.pt")).parent
    other = next(p for p in _done(bench).glob("cells/*") if p.name != cell.name)
    # Start the other model again, to kill the run while that model is scored.
    shutil.rmtree(folder / "cells" / other.name, ignore_errors=True)
    run = start(folder)
    while run.poll() is None and not list(folder.glob("cells/*/parts/*.rows.parquet")):
        time.sleep(LOOK_EVERY_S)
    run.send(signal.SIGKILL)
    run.wait()
    return folder


FAULTS: dict[str, Callable[[Bench, Any], Outcome]] = {
    each.__name__: each
    for each in (killed, preempted, out_of_disk, two_at_once, jumping_clock, damaged)
}
OFTEN = {"preempted": 10, "out_of_disk": 8, "two_at_once": 4, "jumping_clock": 4, "damaged": 0}


def main() -> int:
    """Inject all faults and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(FAULTS), help="one kind of fault")
    parser.add_argument("--quick", action="store_true", help="few of each of the other faults")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        bench = Bench(Path(root), random.Random(args.seed))
        undisturbed = finish(_done(bench))
        if undisturbed.code:
            raise SystemExit(f"the undisturbed run failed: {undisturbed.message()}")
        bench.expected, bench.took_s = results(undisturbed.folder), undisturbed.took_s
        print(
            f"Undisturbed: {undisturbed.took_s:.1f} s, {len(bench.expected)} files.",
            file=sys.stderr,
        )
        counts = dict.fromkeys(FAULTS, 1) if args.quick else dict(OFTEN)
        counts["killed"] = args.kills
        print("| fault | injected | lost | |\n| --- | --- | --- | --- |")
        outcomes = []
        for name in [args.only] if args.only else FAULTS:
            outcomes.append(FAULTS[name](bench, counts[name]))
            print(outcomes[-1].line(), flush=True)
    return int(any(outcome.lost for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
