"""Break a run down into units of work with a fixed time each, and estimate its seconds from them.

run      = loading + sum over cells + report
cell     = setup + updates + epoch starts + checkpoints + classification + explanation + storing
loading  = both splits of each dataset, once
report   = text + plots + rows

`unit_timers.py` times the units, and `calibration.py` chooses which and stores the timings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import median

import torch

from lico_bench.bench.compute_cost import (
    CHECKPOINTS,
    explained_images,
    forward_gigaflop,
    measure_slowness,
    measure_speed,
    method_forwards,
    split_images,
    update_gigaflop,
)
from lico_bench.bench.interruption import Checkpoint
from lico_bench.bench.plan import Plan, PlannedCell
from lico_bench.data.scenes import CHUNK
from lico_bench.errors import BrokenFileError
from lico_bench.records import DatasetFacts, content_key
from lico_bench.store import CellFolder, RunFolder

TRAINING, CLASSIFYING, EXPLAINING = "train", "classify", "explain"
DRAWING, READING, SETUP, CHECKPOINT = "draw", "read", "set up", "checkpoint"
STORING, REPORT, PLOT, ROW = "store", "report", "plot", "row"
STAGES = {
    DRAWING: "loading", READING: "loading", SETUP: "training", TRAINING: "training",
    CHECKPOINT: "training", CLASSIFYING: "scoring", EXPLAINING: "scoring", STORING: "storing",
    REPORT: "report", PLOT: "report", ROW: "report",
}  # fmt: skip
DRAWING_S = 600.0  # seconds to draw 10⁹ pixels of scenes on two CPU cores
PLOTS_OF_RUN = 5  # plots that compare datasets: forests, seeds, scatter


@dataclass(frozen=True)
class Unit:
    """A unit of work that takes the same time wherever it occurs.

    Attributes:
        kind: a key of `STAGES`.
        network: backbone, image size and precision.
        label: display text: the arm, the encoder or the methods.
        details: hash of all other settings that affect the time.
        gigaflop: 10⁹ operations (10⁹ pixels for drawing); times of a kind scale with it.
        usual_s: seconds on two CPU cores, for units without counted operations.
    """

    kind: str
    network: str = ""
    label: str = ""
    details: str = ""
    gigaflop: float = field(default=0.0, compare=False)
    usual_s: float | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Key of its timing in the calibration file."""
        return " | ".join((self.kind, self.network, self.label, self.details))

    def seconds_per_gigaflop(self, speed: float) -> float:
        """Return the default for an untimed kind at `speed`, in 10⁹ operations per second."""
        return DRAWING_S if self.kind == DRAWING else 1 / speed


@dataclass(frozen=True)
class WorkItem:
    """A unit and how often a run needs it.

    Attributes:
        cell: the cell that needs it; for the report, any cell.
        count: number of units.
        epochs: number of epoch starts, which take time beside the updates.
    """

    unit: Unit
    cell: PlannedCell
    count: float
    epochs: float = 0.0


# Measured on two cores with AVX2; benchmarks/plan_accuracy.py checks the resulting estimates.
STORE = Unit(STORING, usual_s=0.6)  # build one model, store it, count its operations
REPORT_TEXT = Unit(REPORT, usual_s=4.0)  # load libraries, write the text
REPORT_PLOT = Unit(PLOT, usual_s=0.4)
REPORT_ROW = Unit(ROW, usual_s=8e-6)  # read, compare and judge: benchmarks/rows_at_scale.py
CHECKPOINT_GB = Unit(CHECKPOINT, usual_s=4.0)
IMAGE_READ = Unit(READING, usual_s=3e-5)  # list and check a file; decoding counts as training
CELL_STAGES = ("training", "scoring", "storing")
SETUP_S = 0.5  # load a text encoder and encode the class names


def work_items(plan: Plan, remaining: Mapping[str, float]) -> list[WorkItem]:
    """Return the units that a run of `plan` still needs, in order.

    Args:
        remaining: by key of each unfinished cell, the remaining share of its training; see
            `remaining_training`.
    """
    todo = [cell for cell in plan.cells if cell.key in remaining]
    if not todo:
        return []
    items = []
    loaded: set[str] = set()
    for cell in todo:
        facts = plan.datasets[cell.recipe.dataset]
        if facts.name not in loaded:
            loaded.add(facts.name)
            items.append(_loading(cell, facts, plan))
        items += _training(cell, facts, remaining[cell.key])
        items += _scoring(cell, facts, plan)
    rows = sum(cell.cost.rows for cell in plan.cells)
    counts = {REPORT_TEXT: 1, REPORT_PLOT: num_plots(plan), REPORT_ROW: rows}
    return items + [WorkItem(unit, todo[0], count) for unit, count in counts.items()]


def num_plots(plan: Plan) -> int:
    """Estimate the number of plots in the report: per method, per dataset and per run."""
    methods = plan.eval_config.resolved_methods.values()
    shown = sum(not method.is_control for method in methods) or len(methods)
    return PLOTS_OF_RUN + len(plan.datasets) * (2 * shown + 1)


def training_batch(cell: PlannedCell, facts: DatasetFacts) -> int:
    """Return the batch size, at most the number of training images."""
    return min(cell.recipe.batch_size, split_images(cell.recipe, facts, "train"))


def training_unit(cell: PlannedCell, facts: DatasetFacts) -> Unit:
    """Return the unit of one training update of a cell."""
    recipe, batch = cell.recipe, training_batch(cell, facts)
    details = {
        "batch": batch, "options": cell.options, "encoder": cell.encoder,
        "classes": len(facts.class_names), "augmentation": recipe.augmentation,
        "channels_last": recipe.channels_last, "compile": recipe.compile,
        "ema": recipe.ema_decay > 0, "clip": recipe.gradient_clip > 0,
    }  # fmt: skip
    return Unit(
        TRAINING, f"{_network(cell, facts)} {recipe.precision}", recipe.arm,
        content_key(details), update_gigaflop(recipe, facts, batch),
    )  # fmt: skip


def setup_unit(encoder: str) -> Unit:
    """Return the unit of loading a text encoder for one training."""
    return Unit(SETUP, label=encoder, usual_s=SETUP_S)


def _training(cell: PlannedCell, facts: DatasetFacts, share_left: float) -> Iterator[WorkItem]:
    if share_left == 0:
        return
    if cell.encoder is not None:
        yield WorkItem(setup_unit(cell.encoder["name"]), cell, 1)
    cost, epochs = cell.cost, cell.recipe.epochs
    yield WorkItem(
        training_unit(cell, facts), cell, share_left * cost.updates, epochs=share_left * epochs
    )
    written = cost.checkpoint_bytes / CHECKPOINTS * (epochs - 1)
    yield WorkItem(CHECKPOINT_GB, cell, share_left * written / 1e9)


def _scoring(cell: PlannedCell, facts: DatasetFacts, plan: Plan) -> Iterator[WorkItem]:
    eval_config, network = plan.eval_config, _network(cell, facts)
    forward = forward_gigaflop(cell.recipe.backbone, facts.image_size)
    layout = f"channels_last {cell.recipe.channels_last}"
    yield WorkItem(Unit(CLASSIFYING, network, "", layout, forward), cell, facts.num_images("test"))
    details = {
        "methods": eval_config.methods, "metrics": [*eval_config.resolved_metrics],
        "protocol": eval_config.protocol.id, "regions": facts.has_regions, "laid": layout,
    }  # fmt: skip
    per_map = sum(
        method_forwards(cell.recipe.backbone, facts, eval_config, m) for m in eval_config.methods
    )
    methods = ", ".join(eval_config.methods)
    yield WorkItem(
        Unit(EXPLAINING, network, methods, content_key(details), per_map * forward),
        cell,
        explained_images(facts, eval_config),
    )
    yield WorkItem(STORE, cell, 1)


def _loading(cell: PlannedCell, facts: DatasetFacts, plan: Plan) -> WorkItem:
    if facts.source == "real":
        return WorkItem(IMAGE_READ, cell, sum(facts.num_images(s) for s in ("train", "test")))
    scene = math.prod(facts.image_size) / 1e9
    size = "x".join(map(str, facts.image_size))
    unit = Unit(DRAWING, f"{facts.name} {size}", "", "", CHUNK * scene)
    # All scenes are drawn, also those that the recipe does not use.
    return WorkItem(
        unit, cell, sum(math.ceil(facts.num_images(s) / CHUNK) for s in ("train", "test"))
    )


def _network(cell: PlannedCell, facts: DatasetFacts) -> str:
    return f"{cell.recipe.backbone} {'x'.join(map(str, facts.image_size))}"


def remaining_training(plan: Plan, run: RunFolder | None) -> dict[str, float]:
    """Return the remaining share of training of each unfinished cell, by key."""
    remaining = {}
    for cell in plan.cells:
        folder = None if run is None else run.cell(cell.key)
        if folder is None:
            remaining[cell.key] = 1.0
        elif not folder.is_done:
            remaining[cell.key] = 0.0 if folder.model.is_file() else 1 - _epochs_done(cell, folder)
    return remaining


def _epochs_done(cell: PlannedCell, folder: CellFolder) -> float:
    """Return the share of epochs that a checkpoint holds; 0 if it is missing or damaged."""
    try:
        state = Checkpoint(folder).read()
        return 0.0 if state is None else min(1.0, int(state["epoch"]) / cell.recipe.epochs)
    except (BrokenFileError, LookupError, TypeError, ValueError):
        return 0.0  # the training itself raises the error


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


def _is_prefix(prefix: str, network: str) -> bool:
    return bool(prefix) and network.startswith(prefix)


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
        remaining: see `remaining_training`.
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
