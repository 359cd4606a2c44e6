"""Timings of units on this machine, stored between runs and scaled to untimed units.

The file is in the user's cache folder. Its name is a hash of the facts that the timings depend on
(processor, threads, torch, device, package version), so that no other machine's file is read.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from lico_bench.bench.compute_cost import measure_slowness, measure_speed
from lico_bench.bench.units import Unit, WorkItem
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.records import content_key
from lico_bench.runtime import versions
from lico_bench.store import read_json, write_json

FORMAT = 2


@dataclass(frozen=True)
class Timing:
    """Seconds of one unit.

    Attributes:
        gigaflop: 10⁹ operations of the unit, see `Unit`.
        per_epoch: seconds per epoch in addition to its updates.
    """

    seconds: float
    gigaflop: float = 0.0
    per_epoch: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """Timings of one machine.

    Attributes:
        machine: facts that the timings depend on.
        timings: by unit name.
        speed: 10⁹ operations per second, for kinds without any timing.
        slowness: interpreter time as a multiple of the reference machine, for units with
            `usual_s`; see `compute_cost.measure_slowness`.
    """

    machine: Mapping[str, str]
    timings: Mapping[str, Timing] = field(default_factory=dict)
    speed: float = 10.0
    slowness: float = 1.0

    def measured_on(self, device: torch.device) -> Calibration:
        """Return a copy with the current speed and slowness of this machine."""
        return replace(self, speed=measure_speed(device), slowness=measure_slowness())

    def with_timings(self, timings: Mapping[Unit, Timing]) -> Calibration:
        """Return a copy with `timings` added or replaced."""
        by_name = {unit.name: timing for unit, timing in timings.items()}
        return replace(self, timings={**self.timings, **by_name})

    def has_timing(self, unit: Unit) -> bool:
        """Whether the unit was timed on this machine."""
        return unit.name in self.timings

    def timing(self, unit: Unit) -> Timing:
        """Return the unit's measured timing, else its usual time, else a scaled timing.

        Scaling uses the median seconds per operation of the most similar timed units.
        """
        if unit.name in self.timings:
            return self.timings[unit.name]
        if unit.usual_s is not None:
            return Timing(unit.usual_s * self.slowness)
        similar = self._similar_timings(unit)
        if not similar:
            return Timing(unit.gigaflop * unit.seconds_per_gigaflop(self.speed), unit.gigaflop)
        seconds = unit.gigaflop * median(t.seconds / t.gigaflop for t in similar)
        share = median(t.per_epoch / max(1e-12, t.seconds) for t in similar)
        return Timing(seconds, unit.gigaflop, seconds * share)

    def _similar_timings(self, unit: Unit) -> list[Timing]:
        """Return the most similar timings of the same kind, else those of the same network."""
        by_similarity: dict[tuple[bool, ...], list[Timing]] = {}
        for name, timing in self.timings.items():
            kind, network, label, _ = name.split(" | ")
            # One of the two names may lack the precision.
            same_network = _is_prefix(network, unit.network) or _is_prefix(unit.network, network)
            if timing.gigaflop and (kind == unit.kind or same_network):
                similarity = (kind == unit.kind, label == unit.label, same_network)
                by_similarity.setdefault(similarity, []).append(timing)
        return by_similarity[max(by_similarity)] if by_similarity else []

    def seconds(self, item: WorkItem) -> float:
        """Return the seconds of a work item."""
        timing = self.timing(item.unit)
        return item.count * timing.seconds + item.epochs * timing.per_epoch


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


def _is_prefix(prefix: str, network: str) -> bool:
    return bool(prefix) and network.startswith(prefix)


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
