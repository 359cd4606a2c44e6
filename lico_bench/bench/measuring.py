"""Time on this machine what a plan is made of, within the seconds that are given.

What takes the largest share of the run is timed first, on as few pictures as tell (`trials.py`);
what is left when the time is up is scaled by `Calibration.timing`.
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
from lico_bench.bench.cost import TimeEstimate, estimate_time
from lico_bench.bench.plan import Plan
from lico_bench.bench.trials import (
    TRIALS,
    Bench,
    Found,
    WriteReport,
    least_seconds,
    time_small_run,
)
from lico_bench.bench.units import Part, Unit, parts_of, training_left
from lico_bench.errors import BrokenFileError, LicoBenchError, OutOfMemoryError
from lico_bench.runtime import pick_device
from lico_bench.store import RunFolder

LOOK_S, LOOK_LEAST_S = 4.5, 2.5  # before a run, at most and at least
LOOK_SHARE = 0.1  # of the run, in between
CALIBRATE_S = 45.0
ENOUGH_SHARE = 0.9  # of the run that is timed: from there on a run starts without a look
UNIT_S, LEAST_S = 2.0, 0.25  # of one trial
SMALL_RUN_S = 15.0  # models and report of a run that has next to nothing to do
Told = Callable[[str], None]


def look(plan: Plan, run: RunFolder | None, *, device: str) -> TimeEstimate:
    """What is left of a run takes, from what was timed before and a look of a few seconds.

    Nothing is written, and the random numbers of the process stay as they are.

    Args:
        run: where it is stored, as far as it was run.

    Raises:
        LicoBenchError, RuntimeError: if a trial fails, for want of memory above all.
    """
    left = training_left(plan, run)
    if not left:
        return estimate_time(plan, left, Calibration({}))
    known = _kept(device)  # loads what the run itself needs
    started = time.perf_counter()
    rough = estimate_time(plan, left, known)
    if rough.timed_share >= ENOUGH_SHARE:
        return rough
    budget = min(LOOK_S, max(LOOK_LEAST_S, LOOK_SHARE * rough.seconds))
    budget -= time.perf_counter() - started
    known = time_units(plan, left, known, device=device, budget_s=budget)
    return estimate_time(plan, left, known, took_s=time.perf_counter() - started)


def _kept(device: str) -> Calibration:
    """What was timed before; nothing where that cannot be read, since it is timed anew."""
    chosen = pick_device(device)
    try:
        return read_calibration(chosen).on(chosen)
    except BrokenFileError:
        return Calibration(machine_facts(chosen)).on(chosen)


def calibrate(
    plan: Plan,
    *,
    device: str,
    write_report: WriteReport,
    told: Told = lambda _what: None,
    budget_s: float = CALIBRATE_S,
) -> Calibration:
    """The units of a plan, timed for less than a minute; timings of other plans stay.

    Args:
        write_report: writes the report of a run; what shows it is not this room's to know.
        told: called with what is timed next.
        budget_s: after which nothing more is begun.

    Raises:
        BrokenFileError: if what was kept before cannot be read.
        LicoBenchError, RuntimeError: as `look`.
    """
    kept = read_calibration(pick_device(device)).on(pick_device(device))
    left = training_left(plan, None)
    nothing = replace(kept, timings={})
    found = time_units(
        plan,
        left,
        nothing,
        device=device,
        budget_s=budget_s,
        write_report=write_report,
        told=told,
    )
    return replace(kept, timings={**kept.timings, **found.timings})


def time_units(
    plan: Plan,
    left: Mapping[str, float],
    known: Calibration,
    *,
    device: str,
    budget_s: float,
    write_report: WriteReport | None = None,
    told: Told = lambda _what: None,
) -> Calibration:
    """`known`, and the units of what is left that could be timed within `budget_s`.

    Args:
        write_report: where given, models and report of a small run are timed as well.
        told: called with what is timed next.

    Raises:
        OutOfMemoryError, RuntimeError: if a trial needs more memory than there is.
    """
    bench = Bench(plan, pick_device(device), write_report)
    parts = parts_of(plan, left)
    tried: set[Unit] = set()
    deadline = time.perf_counter() + budget_s
    with _undisturbed(bench.device):
        while trial := _next_trial(bench, parts, known, tried, deadline - time.perf_counter()):
            tried.add(trial.part.unit)
            told(trial.part.unit.name.rpartition(" | ")[0])
            try:
                known = known.with_timings(trial.run())
            except OutOfMemoryError:
                raise
            except LicoBenchError:
                continue  # so few random pictures may not be trainable; the run itself will tell
    return known


@dataclass(frozen=True)
class _Trial:
    """A unit to time now, and how."""

    part: Part
    run: Callable[[], Found]


def _next_trial(
    bench: Bench, parts: list[Part], known: Calibration, tried: set[Unit], time_left: float
) -> _Trial | None:
    """The unit that takes the largest share of the run, of those that are not known and fit."""
    shares: dict[Unit, float] = {}
    for part in parts:
        shares[part.unit] = shares.get(part.unit, 0.0) + known.seconds(part)
    needing = {part.unit: part for part in reversed(parts)}
    open_units = [u for u in shares if not known.knows(u) and u not in tried]
    whole = sum(shares[unit] for unit in open_units) or 1.0
    for unit in sorted(open_units, key=lambda u: -shares[u]):
        slot = min(UNIT_S, max(LEAST_S, time_left * shares[unit] / whole))
        part = needing[unit]
        if unit.kind in (units.STORING, units.REPORT, units.PLOT):
            if bench.write_report is not None and time_left >= SMALL_RUN_S:
                return _Trial(part, partial(time_small_run, bench, bench.write_report))
        elif unit.kind in TRIALS:
            least = least_seconds(bench, part, known)
            if least + LEAST_S <= time_left:
                return _Trial(part, partial(TRIALS[unit.kind], bench, part, known, slot))
    return None


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Put the random numbers of the process back after the block, and give memory back."""
    cards = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        try:
            yield
        finally:
            gc.collect()
            if cards:
                torch.cuda.empty_cache()
