"""What a plan takes on this machine: seconds by part, from counts and from what was timed here.

    run      = start + first + loading + sum over cells + report
    cell     = fixed + epochs * per_epoch + updates * update + tested * classified
               + explained * sum over methods (explained by the method and scored)
    loading  = train and test split of each dataset, once
    report   = fixed + plots * plot + rows * row

A unit that was not timed is scaled by its operations from those that were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lico_bench.bench.calibration import (
    Calibration,
    classifying_unit,
    explaining_unit,
    loading_unit,
    training_unit,
)
from lico_bench.bench.plan import Plan, PlannedCell
from lico_bench.bench.work import explained_images, forward_gigaflop, method_forwards, split_images

ROW_S = 8e-6  # reading, comparing and judging one row: benchmarks/rows_at_scale.py
PLOTS_OF_RUN = 5  # what compares datasets: forests, seeds, scatter


@dataclass(frozen=True)
class CellCost:
    """Seconds of one cell.

    Attributes:
        measured: of all, those whose units were timed here.
    """

    training: float
    scoring: float
    fixed: float
    measured: float

    @property
    def seconds(self) -> float:
        """In all."""
        return self.training + self.scoring + self.fixed


@dataclass(frozen=True)
class PlanCost:
    """Seconds of a plan, one cell after the other.

    Attributes:
        cells: in the plan's order.
    """

    start: float
    loading: float
    cells: tuple[CellCost, ...]
    report: float

    @property
    def seconds(self) -> float:
        """From the command to the report."""
        return self.start + self.loading + sum(c.seconds for c in self.cells) + self.report

    @property
    def measured_share(self) -> float:
        """Share of the cells' seconds whose units were timed here, in [0, 1]."""
        return sum(c.measured for c in self.cells) / max(1e-9, sum(c.seconds for c in self.cells))


def predict_cost(plan: Plan, calibration: Calibration) -> PlanCost | None:
    """Seconds of a plan; None where too little was timed to say."""
    fixed = calibration.fixed
    if fixed is None or not calibration.timings:
        return None
    cells = tuple(_cell_cost(cell, plan, calibration) for cell in plan.cells)
    rows = sum(cell.work.rows for cell in plan.cells)
    cost = PlanCost(
        start=fixed.start + fixed.first,
        loading=_loading_seconds(plan, calibration),
        cells=cells,
        report=fixed.report + num_plots(plan) * fixed.plot + rows * ROW_S,
    )
    return None if math.isnan(cost.seconds) else cost  # a kind of unit was never timed


def num_plots(plan: Plan) -> int:
    """Plots of the report, roughly: curves and gallery of each method, training, what compares."""
    methods = plan.question.resolved_methods.values()
    shown = sum(not method.is_control for method in methods) or len(methods)
    return PLOTS_OF_RUN + len(plan.datasets) * (2 * shown + 1)


def _cell_cost(cell: PlannedCell, plan: Plan, calibration: Calibration) -> CellCost:
    facts, work, question = plan.datasets[cell.recipe.dataset], cell.work, plan.question
    fixed = calibration.fixed
    own = 0.0 if fixed is None else (fixed.text_cell if cell.encoder else fixed.cell)
    update, knows_update = calibration.timing(
        training_unit(cell, facts), work.train_gigaflop / work.updates
    )
    training = work.updates * update.seconds + cell.recipe.epochs * update.per_epoch
    each = forward_gigaflop(cell.recipe.backbone, facts.image_size)
    classified, knows_classified = calibration.timing(classifying_unit(cell, facts), each)
    scoring = facts.num_images("test") * classified.seconds
    measured = own + training * knows_update + scoring * knows_classified
    explained = explained_images(facts, question)
    for method in question.resolved_methods:
        forwards = method_forwards(cell.recipe.backbone, facts, question, method)
        unit = explaining_unit(cell, facts, question, method)
        timed, is_known = calibration.timing(unit, forwards * each)
        scoring += explained * timed.seconds
        measured += explained * timed.seconds * is_known
    return CellCost(training, scoring, own, measured)


def _loading_seconds(plan: Plan, calibration: Calibration) -> float:
    seconds = 0.0
    first_cells = {cell.recipe.dataset: cell for cell in reversed(plan.cells)}
    for name, cell in first_cells.items():
        facts = plan.datasets[name]
        for split in ("train", "test"):
            unit = loading_unit(cell, facts, split)
            pixels = split_images(cell.recipe, facts, split) * math.prod(facts.image_size) / 1e9
            seconds += calibration.timing(unit, pixels)[0].seconds
    return seconds
