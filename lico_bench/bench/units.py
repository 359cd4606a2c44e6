"""What a run is made of: units of work that take the same time wherever they occur.

How often a run needs each:

    run      = loading + sum over cells + report
    cell     = set up + updates + starts of epochs + checkpoints + classified + explained + stored
    loading  = the splits of each dataset, once
    report   = text + plots + rows
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lico_bench.bench.checkpoints import Checkpoint
from lico_bench.bench.compute_cost import (
    CHECKPOINTS,
    explained_images,
    forward_gigaflop,
    method_forwards,
    split_images,
    update_gigaflop,
)
from lico_bench.bench.plan import Plan, PlannedCell
from lico_bench.data import DatasetFacts
from lico_bench.data.scenes import CHUNK
from lico_bench.errors import BrokenFileError
from lico_bench.records import content_key
from lico_bench.store import CellFolder, RunFolder

TRAINING, CLASSIFYING, EXPLAINING = "train", "classify", "explain"
DRAWING, READING, SETUP, CHECKPOINT = "draw", "read", "set up", "checkpoint"
STORING, REPORT, PLOT, ROW = "store", "report", "plot", "row"
STAGES = {
    DRAWING: "loading", READING: "loading", SETUP: "training", TRAINING: "training",
    CHECKPOINT: "training", CLASSIFYING: "scoring", EXPLAINING: "scoring", STORING: "storing",
    REPORT: "report", PLOT: "report", ROW: "report",
}  # fmt: skip
DRAWING_S = 600.0  # 10⁹ pixels of scenes, on two CPU cores
PLOTS_OF_RUN = 5  # what compares datasets: forests, seeds, scatter


@dataclass(frozen=True)
class Unit:
    """Work that takes the same time wherever it occurs.

    Attributes:
        kind: one of the keys of `STAGES`.
        network: whose work it is: backbone, size of the images, precision.
        what: for people: the arm, or what is asked.
        details: a digest of all else that changes the time.
        gigaflop: its operations, 10⁹; of drawing, its pixels. Units of a kind are scaled by them.
        usual_s: seconds on two CPU cores, for what has no operations.
    """

    kind: str
    network: str = ""
    what: str = ""
    details: str = ""
    gigaflop: float = field(default=0.0, compare=False)
    usual_s: float | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Under which its timing is kept."""
        return " | ".join((self.kind, self.network, self.what, self.details))

    def seconds_per_gigaflop(self, speed: float) -> float:
        """Where nothing of its kind was timed, on a machine of `speed` 10⁹ operations a second."""
        return DRAWING_S if self.kind == DRAWING else 1 / speed


@dataclass(frozen=True)
class Part:
    """How often a run needs a unit.

    Attributes:
        cell: a model that needs it; of the report, any.
        count: times.
        epochs: of which each takes something beside its updates.
    """

    unit: Unit
    cell: PlannedCell
    count: float
    epochs: float = 0.0


# Measured on two cores with AVX2 (benchmarks/plan_accuracy.py shows what comes of them).
STORE = Unit(STORING, usual_s=0.6)  # of one model: build, store, count its operations
REPORT_TEXT = Unit(REPORT, usual_s=4.0)  # its libraries and its text
REPORT_PLOT = Unit(PLOT, usual_s=0.4)
REPORT_ROW = Unit(ROW, usual_s=8e-6)  # read, compared and judged: benchmarks/rows_at_scale.py
CHECKPOINT_GB = Unit(CHECKPOINT, usual_s=4.0)
IMAGE_READ = Unit(READING, usual_s=3e-5)  # named, counted and checked; decoding is the training's
SETUP_S = 0.5  # a text encoder's weights and the class names


def parts_of(plan: Plan, left: Mapping[str, float]) -> list[Part]:
    """What a run of `plan` is made of, in its order.

    Args:
        left: the cells that are not finished, by key, and the share of their training that is
            left; see `training_left`.
    """
    todo = [cell for cell in plan.cells if cell.key in left]
    if not todo:
        return []
    parts = []
    loaded: set[str] = set()
    for cell in todo:
        facts = plan.datasets[cell.recipe.dataset]
        if facts.name not in loaded:
            loaded.add(facts.name)
            parts.append(_loading(cell, facts, plan))
        parts += _training(cell, facts, left[cell.key])
        parts += _scoring(cell, facts, plan)
    rows = sum(cell.work.rows for cell in plan.cells)
    counts = {REPORT_TEXT: 1, REPORT_PLOT: num_plots(plan), REPORT_ROW: rows}
    return parts + [Part(unit, todo[0], count) for unit, count in counts.items()]


def num_plots(plan: Plan) -> int:
    """Plots of the report, roughly: curves and gallery of each method, training, what compares."""
    methods = plan.eval_config.resolved_methods.values()
    shown = sum(not method.is_control for method in methods) or len(methods)
    return PLOTS_OF_RUN + len(plan.datasets) * (2 * shown + 1)


def training_batch(cell: PlannedCell, facts: DatasetFacts) -> int:
    """Images in a batch; fewer than the recipe's where the split has no more."""
    return min(cell.recipe.batch_size, split_images(cell.recipe, facts, "train"))


def training_unit(cell: PlannedCell, facts: DatasetFacts) -> Unit:
    """One update of a cell's training."""
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
    """A text encoder, read for one training."""
    return Unit(SETUP, what=encoder, usual_s=SETUP_S)


def _training(cell: PlannedCell, facts: DatasetFacts, share_left: float) -> Iterator[Part]:
    if share_left == 0:
        return
    if cell.encoder is not None:
        yield Part(setup_unit(cell.encoder["name"]), cell, 1)
    work, epochs = cell.work, cell.recipe.epochs
    yield Part(
        training_unit(cell, facts), cell, share_left * work.updates, epochs=share_left * epochs
    )
    written = work.checkpoint_bytes / CHECKPOINTS * (epochs - 1)
    yield Part(CHECKPOINT_GB, cell, share_left * written / 1e9)


def _scoring(cell: PlannedCell, facts: DatasetFacts, plan: Plan) -> Iterator[Part]:
    eval_config, network = plan.eval_config, _network(cell, facts)
    each = forward_gigaflop(cell.recipe.backbone, facts.image_size)
    laid = f"channels_last {cell.recipe.channels_last}"
    yield Part(Unit(CLASSIFYING, network, "", laid, each), cell, facts.num_images("test"))
    details = {
        "methods": eval_config.methods, "metrics": [*eval_config.resolved_metrics],
        "protocol": eval_config.protocol.id, "regions": facts.has_regions, "laid": laid,
    }  # fmt: skip
    per_map = sum(
        method_forwards(cell.recipe.backbone, facts, eval_config, m) for m in eval_config.methods
    )
    requested = ", ".join(eval_config.methods)
    yield Part(
        Unit(EXPLAINING, network, requested, content_key(details), per_map * each),
        cell,
        explained_images(facts, eval_config),
    )
    yield Part(STORE, cell, 1)


def _loading(cell: PlannedCell, facts: DatasetFacts, plan: Plan) -> Part:
    if facts.source == "real":
        return Part(IMAGE_READ, cell, sum(facts.num_images(s) for s in ("train", "test")))
    scene = math.prod(facts.image_size) / 1e9
    size = "x".join(map(str, facts.image_size))
    unit = Unit(DRAWING, f"{facts.name} {size}", "", "", CHUNK * scene)
    # All are drawn, whatever the recipe leaves out.
    return Part(unit, cell, sum(math.ceil(facts.num_images(s) / CHUNK) for s in ("train", "test")))


def _network(cell: PlannedCell, facts: DatasetFacts) -> str:
    return f"{cell.recipe.backbone} {'x'.join(map(str, facts.image_size))}"


def training_left(plan: Plan, run: RunFolder | None) -> dict[str, float]:
    """By key, the cells that are not finished and the share of their training that is left."""
    left = {}
    for cell in plan.cells:
        folder = None if run is None else run.cell(cell.key)
        if folder is None:
            left[cell.key] = 1.0
        elif not folder.is_done:
            left[cell.key] = 0.0 if folder.model.is_file() else 1 - _epochs_done(cell, folder)
    return left


def _epochs_done(cell: PlannedCell, folder: CellFolder) -> float:
    """Share of the epochs that the checkpoint of an unfinished training holds."""
    try:
        state = Checkpoint(folder).read()
        return 0.0 if state is None else min(1.0, int(state["epoch"]) / cell.recipe.epochs)
    except (BrokenFileError, LookupError, TypeError, ValueError):
        return 0.0  # the training itself will say what is wrong with it
