"""Time the units of a run on this machine within a time budget, and store the timings between runs.

Units with the largest share of the run are timed first, on few images (`unit_timers.py`). Units
left over when the budget ends are scaled by `Calibration.timing`. The file of timings is in the
user's cache folder. Its name is a hash of the facts that the timings depend on (processor, threads,
torch, device, package version), so that no other machine's file is read.
"""

from __future__ import annotations

import gc
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lico_bench.bench.compute_cost import measure_slowness
from lico_bench.bench.plan import Plan
from lico_bench.bench.time_estimate import (
    PLOT,
    REPORT,
    STORING,
    Calibration,
    TimeEstimate,
    Timing,
    Unit,
    WorkItem,
    estimate_time,
    remaining_training,
    work_items,
)
from lico_bench.bench.unit_timers import (
    TIMERS,
    TimingContext,
    UnitTimings,
    WriteReport,
    min_seconds,
    time_small_run,
)
from lico_bench.errors import BrokenFileError, LicoBenchError, MissingDataError, OutOfMemoryError
from lico_bench.records import content_key
from lico_bench.runtime import pick_device, versions
from lico_bench.store import RunFolder, read_json, write_json

FORMAT = 2
QUICK_BUDGET_S, MIN_QUICK_BUDGET_S = 4.5, 2.5  # for timing before a run, at most and at least
QUICK_SHARE = 0.1  # of the run's time, between these two
CALIBRATION_BUDGET_S = 45.0
TIMED_SHARE_TO_SKIP = 0.9  # with this share of the run timed, no further timing before a run
MAX_UNIT_S, MIN_UNIT_S = 2.0, 0.25  # of one timing run
SMALL_RUN_S = 15.0  # duration of `time_small_run`
UnitCallback = Callable[[str], None]


def estimate_remaining(plan: Plan, run: RunFolder | None, *, device: str) -> TimeEstimate:
    """Estimate the remaining time of a run from stored timings and a few seconds of timing.

    Nothing is written, and the global random state is preserved.

    Args:
        run: the run folder; None for a run that has not started.

    Raises:
        LicoBenchError, RuntimeError: if a timing run fails, usually for lack of memory.
    """
    remaining = remaining_training(plan, run)
    if not remaining:
        return estimate_time(plan, remaining, Calibration({}))
    known = _stored_calibration(device)  # loads libraries that the run needs as well
    started = time.perf_counter()
    rough = estimate_time(plan, remaining, known)
    if rough.timed_share >= TIMED_SHARE_TO_SKIP:
        return rough
    budget = min(QUICK_BUDGET_S, max(MIN_QUICK_BUDGET_S, QUICK_SHARE * rough.seconds))
    budget -= time.perf_counter() - started
    known = time_units(plan, remaining, known, device=device, budget_s=budget)
    return estimate_time(plan, remaining, known, took_s=time.perf_counter() - started)


def _stored_calibration(device: str) -> Calibration:
    """Read the stored calibration; start from an empty one if the file is damaged."""
    picked = pick_device(device)
    try:
        return read_calibration(picked).measured_on(picked)
    except BrokenFileError:
        return Calibration(machine_facts(picked)).measured_on(picked)


def calibrate(
    plan: Plan,
    *,
    device: str,
    write_report: WriteReport,
    on_unit: UnitCallback = lambda _what: None,
    budget_s: float = CALIBRATION_BUDGET_S,
) -> Calibration:
    """Time the units of a plan in less than a minute and merge them into the stored calibration.

    Args:
        write_report: writes the report of a run; passed in because `bench` cannot import `report`.
        on_unit: called with the name of the unit to time next.
        budget_s: no timing run starts after this time.

    Raises:
        BrokenFileError: if the stored calibration is damaged.
        LicoBenchError, RuntimeError: as `estimate_remaining`.
    """
    stored = read_calibration(pick_device(device)).measured_on(pick_device(device))
    remaining = remaining_training(plan, None)
    timed = time_units(
        plan,
        remaining,
        replace(stored, timings={}),
        device=device,
        budget_s=budget_s,
        write_report=write_report,
        on_unit=on_unit,
    )
    return replace(timed, timings={**stored.timings, **timed.timings})


def time_units(
    plan: Plan,
    remaining: Mapping[str, float],
    known: Calibration,
    *,
    device: str,
    budget_s: float,
    write_report: WriteReport | None = None,
    on_unit: UnitCallback = lambda _what: None,
) -> Calibration:
    """Return `known` extended by the units that could be timed within `budget_s`.

    The slowness is measured again at the end and averaged with that of `known`.

    Args:
        remaining: see `remaining_training`.
        write_report: if given, a small run and its report are timed as well.
        on_unit: called with the name of the unit to time next.

    Raises:
        OutOfMemoryError, RuntimeError: if a timing run needs more memory than available.
    """
    timing = TimingContext(plan, pick_device(device), write_report)
    items = work_items(plan, remaining)
    tried: set[Unit] = set()
    deadline = time.perf_counter() + budget_s
    with _preserved_rng(timing.device):
        while task := _next_task(timing, items, known, tried, deadline - time.perf_counter()):
            unit, time_unit = task
            tried.add(unit)
            on_unit(unit.name.rpartition(" | ")[0])
            try:
                known = known.with_timings(time_unit())
            except OutOfMemoryError:
                raise
            except LicoBenchError:
                continue  # training may fail on so few random images; the run itself reports it
    # The speed of a shared processor can halve within seconds; the mean of two moments is steadier.
    return replace(known, slowness=(known.slowness + measure_slowness()) / 2)


def _next_task(
    timing: TimingContext,
    items: list[WorkItem],
    known: Calibration,
    tried: set[Unit],
    time_left: float,
) -> tuple[Unit, Callable[[], UnitTimings]] | None:
    """Return the untimed unit with the largest share that fits `time_left`, and its timer."""
    shares: dict[Unit, float] = {}
    for item in items:
        shares[item.unit] = shares.get(item.unit, 0.0) + known.seconds(item)
    first_items = {item.unit: item for item in reversed(items)}
    untimed = [u for u in shares if not known.has_timing(u) and u not in tried]
    total = sum(shares[unit] for unit in untimed) or 1.0
    for unit in sorted(untimed, key=lambda u: -shares[u]):
        budget_s = min(MAX_UNIT_S, max(MIN_UNIT_S, time_left * shares[unit] / total))
        item = first_items[unit]
        if unit.kind in (STORING, REPORT, PLOT):
            if timing.write_report is not None and time_left >= SMALL_RUN_S:
                return unit, partial(time_small_run, timing, timing.write_report)
        elif unit.kind in TIMERS and min_seconds(timing, item, known) + MIN_UNIT_S <= time_left:
            return unit, partial(TIMERS[unit.kind], timing, item, known, budget_s)
    return None


@contextmanager
def _preserved_rng(device: torch.device) -> Iterator[None]:
    """Restore the global random state and free memory after the block."""
    gpus = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        try:
            yield
        finally:
            gc.collect()
            if gpus:
                torch.cuda.empty_cache()


def read_calibration(device: torch.device, folder: Path | None = None) -> Calibration:
    """Read the calibration of this machine; empty if there is none.

    Raises:
        BrokenFileError: if the file is no calibration of this version.
    """
    machine = machine_facts(device)
    path = _path(machine, folder)
    try:
        stored = read_json(path)
    except MissingDataError:
        return Calibration(machine)
    try:
        return _from_json(machine, stored)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BrokenFileError(
            f"{path}: not a calibration of this version; delete it and repeat the command with "
            "--calibrate"
        ) from error


def write_calibration(calibration: Calibration, folder: Path | None = None) -> Path:
    """Store the timings for later plans on this machine and return the file's path."""
    path = _path(calibration.machine, folder)
    write_json(
        path,
        {
            "format": FORMAT,
            "machine": dict(calibration.machine),
            "timings": {unit: asdict(timing) for unit, timing in calibration.timings.items()},
        },
    )
    return path


def machine_facts(device: torch.device) -> dict[str, str]:
    """Return the facts that timings on this machine depend on."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "lico-bench": versions()["lico-bench"],
        "format": str(FORMAT),
    }


def cache_folder() -> Path:
    """Return the folder of the timings: `lico-bench` in XDG_CACHE_HOME, else in `~/.cache`."""
    parent = os.environ.get("XDG_CACHE_HOME")
    return Path(parent or Path.home() / ".cache") / "lico-bench"


def _path(machine: Mapping[str, str], folder: Path | None) -> Path:
    return (folder or cache_folder()) / f"calibration-{content_key(dict(machine))}.json"


def _from_json(machine: dict[str, str], stored: Any) -> Calibration:
    if stored["format"] != FORMAT or stored["machine"] != machine:
        raise ValueError("another format or machine")
    timings = {unit: Timing(**_seconds(facts)) for unit, facts in stored["timings"].items()}
    if any(unit.count(" | ") != 3 for unit in timings):
        raise ValueError("expected names of units")
    return Calibration(machine, timings)


def _seconds(facts: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: float(value) for name, value in facts.items()}
    if not all(math.isfinite(value) and value >= 0 for value in numbers.values()):
        raise ValueError("expected seconds")
    return numbers


def _processor() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
