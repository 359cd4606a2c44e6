"""Break a run down into units of work with a fixed time each, and count the units.

run      = loading + sum over cells + report
cell     = setup + updates + epoch starts + checkpoints + classification + explanation + storing
loading  = both splits of each dataset, once
report   = text + plots + rows
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lico_bench.bench.compute_cost import (
    CHECKPOINTS,
    explained_images,
    forward_gigaflop,
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
