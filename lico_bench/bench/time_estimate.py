"""Estimate the seconds of a run on this machine, by cell and by stage, within a time budget.

Units with the largest share of the run are timed first, on few images (`unit_timers.py`). Units
left over when the budget ends are scaled by `Calibration.timing`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch

from lico_bench.bench import units
from lico_bench.bench.calibration import Calibration, machine_facts, read_calibration
from lico_bench.bench.compute_cost import measure_slowness
from lico_bench.bench.plan import Plan
from lico_bench.bench.unit_timers import (
    TIMERS,
    TimingContext,
    UnitTimings,
    WriteReport,
    min_seconds,
    time_small_run,
)
from lico_bench.bench.units import STAGES, Unit, WorkItem, remaining_training, work_items
from lico_bench.errors import BrokenFileError, LicoBenchError, OutOfMemoryError
from lico_bench.runtime import pick_device
from lico_bench.store import RunFolder

QUICK_BUDGET_S, MIN_QUICK_BUDGET_S = 4.5, 2.5  # for timing before a run, at most and at least
QUICK_SHARE = 0.1  # of the run's time, between these two
CALIBRATION_BUDGET_S = 45.0
TIMED_SHARE_TO_SKIP = 0.9  # with this share of the run timed, no further timing before a run
MAX_UNIT_S, MIN_UNIT_S = 2.0, 0.25  # of one timing run
SMALL_RUN_S = 15.0  # duration of `time_small_run`
CELL_STAGES = ("training", "scoring", "storing")
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
            tried.add(task.item.unit)
            on_unit(task.item.unit.name.rpartition(" | ")[0])
            try:
                known = known.with_timings(task.run())
            except OutOfMemoryError:
                raise
            except LicoBenchError:
                continue  # training may fail on so few random images; the run itself reports it
    # The speed of a shared processor can halve within seconds; the mean of two moments is steadier.
    return replace(known, slowness=(known.slowness + measure_slowness()) / 2)


@dataclass(frozen=True)
class _TimingTask:
    """A unit to time and the function that times it."""

    item: WorkItem
    run: Callable[[], UnitTimings]


def _next_task(
    timing: TimingContext,
    items: list[WorkItem],
    known: Calibration,
    tried: set[Unit],
    time_left: float,
) -> _TimingTask | None:
    """Return the untimed unit with the largest share of the run whose timing fits `time_left`."""
    shares: dict[Unit, float] = {}
    for item in items:
        shares[item.unit] = shares.get(item.unit, 0.0) + known.seconds(item)
    first_items = {item.unit: item for item in reversed(items)}
    untimed = [u for u in shares if not known.has_timing(u) and u not in tried]
    total = sum(shares[unit] for unit in untimed) or 1.0
    for unit in sorted(untimed, key=lambda u: -shares[u]):
        budget_s = min(MAX_UNIT_S, max(MIN_UNIT_S, time_left * shares[unit] / total))
        item = first_items[unit]
        if unit.kind in (units.STORING, units.REPORT, units.PLOT):
            if timing.write_report is not None and time_left >= SMALL_RUN_S:
                return _TimingTask(item, partial(time_small_run, timing, timing.write_report))
        elif unit.kind in TIMERS and min_seconds(timing, item, known) + MIN_UNIT_S <= time_left:
            return _TimingTask(item, partial(TIMERS[unit.kind], timing, item, known, budget_s))
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


@dataclass(frozen=True)
class TimeEstimate:
    """Remaining seconds of a run, report included, with cells run one after the other.

    Attributes:
        by_stage: seconds of `loading`, `training`, `scoring`, `storing`, `report`.
        by_cell: seconds of each unfinished cell, by key.
        timed_share: share of the seconds based on units timed on this machine, in [0, 1].
        took_s: seconds spent on timing for this estimate; 0 if stored timings sufficed.
    """

    by_stage: Mapping[str, float]
    by_cell: Mapping[str, float]
    timed_share: float
    took_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Total seconds."""
        return sum(self.by_stage.values())


def estimate_time(
    plan: Plan, remaining: Mapping[str, float], known: Calibration, *, took_s: float = 0.0
) -> TimeEstimate:
    """Estimate the remaining seconds of a run.

    Args:
        remaining: see `units.remaining_training`.
        took_s: see `TimeEstimate`.
    """
    by_stage = dict.fromkeys(STAGES.values(), 0.0)
    by_cell = dict.fromkeys(remaining, 0.0)
    timed = 0.0
    for item in work_items(plan, remaining):
        seconds, stage = known.seconds(item), STAGES[item.unit.kind]
        by_stage[stage] += seconds
        if stage in CELL_STAGES:
            by_cell[item.cell.key] += seconds
        timed += seconds * known.has_timing(item.unit)
    return TimeEstimate(by_stage, by_cell, timed / max(1e-9, sum(by_stage.values())), took_s)
