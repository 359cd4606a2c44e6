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

from lico_bench.bench.plan import CODE_VERSION, PlannedCell
from lico_bench.data import DatasetFacts
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.evaluation import Question
from lico_bench.records import content_key
from lico_bench.store import read_json, write_json

FORMAT = 1
TRAINING, CLASSIFYING, EXPLAINING, LOADING = "train", "classify", "explain", "load"


@dataclass(frozen=True)
class Timing:
    """Seconds of one unit: an update, a picture classified or explained, a split loaded.

    Attributes:
        gigaflop: operations of the unit, 10⁹, for units that were not timed; of a split, 10⁹
            pixels.
        per_epoch: seconds that each epoch takes beside its updates.
    """

    seconds: float
    gigaflop: float
    per_epoch: float = 0.0


@dataclass(frozen=True)
class FixedCosts:
    """Seconds that do not grow with the pictures.

    Attributes:
        start: from the command to the plan: interpreter and imports.
        first: what the first models wait for and later ones do not: libraries, text encoder.
        cell: building, storing and counting one model.
        text_cell: the same of a model that is trained with a text encoder.
        report: libraries of the report, and its text.
        plot: one plot of the report.
    """

    start: float
    first: float
    cell: float
    text_cell: float
    report: float
    plot: float


@dataclass(frozen=True)
class Calibration:
    """Timings of one machine.

    Attributes:
        machine: what the seconds depend on.
        fixed: None until they were timed.
        timings: by the names that `training_unit` and the like give.
    """

    machine: Mapping[str, str]
    fixed: FixedCosts | None = None
    timings: Mapping[str, Timing] = field(default_factory=dict)

    def with_timing(self, unit: str, timing: Timing) -> Calibration:
        """These timings and one more, or another one of the same unit."""
        return replace(self, timings={**self.timings, unit: timing})

    def timing(self, unit: str, gigaflop: float) -> tuple[Timing, bool]:
        """The timing of a unit, and whether it was measured.

        One that was not is scaled by operations: from the same network if that was timed, else
        from the median of its kind. Without any it is NaN.
        """
        if unit in self.timings:
            return self.timings[unit], True
        kind, network, *_ = unit.split(" | ")
        same = [t for n, t in self.timings.items() if n.startswith(f"{kind} | {network} | ")]
        alike = same or [t for n, t in self.timings.items() if n.startswith(f"{kind} | ")]
        scaled = [(t.seconds / t.gigaflop, t.per_epoch / t.seconds) for t in alike if t.gigaflop]
        if not scaled:
            return Timing(math.nan, gigaflop), False
        seconds = gigaflop * median(rate for rate, _ in scaled)
        return Timing(seconds, gigaflop, seconds * median(share for _, share in scaled)), False


def training_unit(cell: PlannedCell, facts: DatasetFacts) -> str:
    """Name of one update of a cell's training."""
    recipe = cell.recipe
    details = {
        "batch": recipe.batch_size, "arm": recipe.arm, "options": cell.options,
        "encoder": cell.encoder, "classes": len(facts.class_names), "source": facts.source,
        "augmentation": recipe.augmentation, "channels_last": recipe.channels_last,
        "compile": recipe.compile, "ema": recipe.ema_decay > 0, "clip": recipe.gradient_clip > 0,
    }  # fmt: skip
    network = f"{_network(cell, facts)} {recipe.precision}"
    told = f"{recipe.arm}, batch {recipe.batch_size}"
    return f"{TRAINING} | {network} | {told} | {content_key(details)}"


def classifying_unit(cell: PlannedCell, facts: DatasetFacts) -> str:
    """Name of one picture classified."""
    return f"{CLASSIFYING} | {_network(cell, facts)} | {cell.recipe.channels_last}"


def explaining_unit(cell: PlannedCell, facts: DatasetFacts, question: Question, method: str) -> str:
    """Name of one picture explained by `method` and scored by every metric."""
    details = {
        "metrics": [*question.resolved_metrics], "protocol": question.protocol.id,
        "regions": facts.has_regions, "channels_last": cell.recipe.channels_last,
    }  # fmt: skip
    return f"{EXPLAINING} | {_network(cell, facts)} | {method} | {content_key(details)}"


def loading_unit(cell: PlannedCell, facts: DatasetFacts, split: str) -> str:
    """Name of one split, read or drawn."""
    size = "x".join(map(str, facts.image_size))
    drawn = f"{cell.recipe.labels} {cell.recipe.train_limit}" if split == "train" else ""
    return f"{LOADING} | {facts.source} | {facts.name} {size} | {split} {drawn}"


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
    fixed = calibration.fixed
    write_json(
        path,
        {
            "format": FORMAT,
            "machine": dict(calibration.machine),
            "fixed": None if fixed is None else asdict(fixed),
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
        "code": str(CODE_VERSION),
    }


def cache_folder() -> Path:
    """Where the timings lie: `lico-bench` in XDG_CACHE_HOME, else in `~/.cache`."""
    named = os.environ.get("XDG_CACHE_HOME")
    return Path(named or Path.home() / ".cache") / "lico-bench"


def _network(cell: PlannedCell, facts: DatasetFacts) -> str:
    return f"{cell.recipe.backbone} {'x'.join(map(str, facts.image_size))}"


def _path(machine: Mapping[str, str], folder: Path | None) -> Path:
    return (folder or cache_folder()) / f"calibration-{content_key(dict(machine))}.json"


def _from_json(machine: dict[str, str], stored: Any) -> Calibration:
    if stored["format"] != FORMAT or stored["machine"] != machine:
        raise ValueError("another format or machine")
    fixed = stored["fixed"]
    timings = {unit: Timing(**_seconds(facts)) for unit, facts in stored["timings"].items()}
    return Calibration(machine, None if fixed is None else FixedCosts(**_seconds(fixed)), timings)


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
