"""What was timed on this machine, kept between runs: seconds by name, and how they scale.

The file lies in the user's cache folder under the facts that the seconds depend on: processor,
threads, torch, device, version of this package. Another machine's file is never read.
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
from lico_bench.bench.units import Part, Unit
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.records import content_key
from lico_bench.runtime import versions
from lico_bench.store import read_json, write_json

FORMAT = 2


@dataclass(frozen=True)
class Timing:
    """Seconds of one unit.

    Attributes:
        gigaflop: operations of the unit, as `Unit` counts them.
        per_epoch: seconds that the start of each epoch takes beside its updates.
    """

    seconds: float
    gigaflop: float = 0.0
    per_epoch: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """Timings of one machine.

    Attributes:
        machine: what the seconds depend on.
        timings: by the names of the units.
        speed: operations per second, 10⁹, for a kind of which nothing was timed.
        slowness: of the interpreter, for what has a usual time; see `work.measure_slowness`.
    """

    machine: Mapping[str, str]
    timings: Mapping[str, Timing] = field(default_factory=dict)
    speed: float = 10.0
    slowness: float = 1.0

    def on(self, device: torch.device) -> Calibration:
        """With the speed and slowness that this machine has now."""
        return replace(self, speed=measure_speed(device), slowness=measure_slowness())

    def with_timings(self, found: Mapping[Unit, Timing]) -> Calibration:
        """These timings and more, or others of the same units."""
        named = {unit.name: timing for unit, timing in found.items()}
        return replace(self, timings={**self.timings, **named})

    def knows(self, unit: Unit) -> bool:
        """Whether the unit was timed here."""
        return unit.name in self.timings

    def timing(self, unit: Unit) -> Timing:
        """What the unit takes: as it was timed, else as is usual, else scaled by operations.

        It is scaled from those units that are most like it, by the median.
        """
        if unit.name in self.timings:
            return self.timings[unit.name]
        if unit.usual_s is not None:
            return Timing(unit.usual_s * self.slowness)
        alike = self._alike(unit)
        if not alike:
            return Timing(unit.gigaflop * unit.seconds_per_gigaflop(self.speed), unit.gigaflop)
        seconds = unit.gigaflop * median(t.seconds / t.gigaflop for t in alike)
        share = median(t.per_epoch / max(1e-12, t.seconds) for t in alike)
        return Timing(seconds, unit.gigaflop, seconds * share)

    def _alike(self, unit: Unit) -> list[Timing]:
        """Of its kind those most like it; else those of the same network."""
        likeness: dict[tuple[bool, ...], list[Timing]] = {}
        for name, timing in self.timings.items():
            kind, network, what, _ = name.split(" | ")
            is_near = _is_part(network, unit.network) or _is_part(unit.network, network)
            if timing.gigaflop and (kind == unit.kind or is_near):
                found = (kind == unit.kind, what == unit.what, is_near)
                likeness.setdefault(found, []).append(timing)
        return likeness[max(likeness)] if likeness else []

    def seconds(self, part: Part) -> float:
        """What a part of a run takes."""
        timing = self.timing(part.unit)
        return part.count * timing.seconds + part.epochs * timing.per_epoch


def read_calibration(device: torch.device, folder: Path | None = None) -> Calibration:
    """What was timed here before; empty where nothing was.

    Raises:
        BrokenFileError: if the file is no calibration.
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
    """Store the timings for later plans on this machine; where they are."""
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
    """What seconds measured here depend on."""
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
    """Where the timings lie: `lico-bench` in XDG_CACHE_HOME, else in `~/.cache`."""
    named = os.environ.get("XDG_CACHE_HOME")
    return Path(named or Path.home() / ".cache") / "lico-bench"


def _is_part(network: str, other: str) -> bool:
    """Whether one is the other, but for the precision."""
    return bool(network) and other.startswith(network)


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
