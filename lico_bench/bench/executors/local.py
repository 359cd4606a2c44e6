"""One cell after the other, in this process."""

from __future__ import annotations

from lico_bench.bench.cell import SplitCache, run_cell
from lico_bench.bench.executors import EXECUTORS
from lico_bench.bench.plan import Plan
from lico_bench.bench.reporter import Reporter
from lico_bench.store import RunFolder


@EXECUTORS.register("local")
def run_locally(plan: Plan, run: RunFolder, *, device: str, reporter: Reporter) -> None:
    """Run what is missing, in the plan's order."""
    splits = SplitCache(plan.root)
    for cell in plan.cells:
        if run.cell(cell.key).is_done:
            reporter.skip(cell.title)
        else:
            run_cell(cell, plan, run, splits=splits, device=device, reporter=reporter)
