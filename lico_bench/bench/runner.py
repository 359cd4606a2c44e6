"""Open the run folder and hand the cells to an executor."""

from __future__ import annotations

from pathlib import Path

from lico_bench.bench.executors import EXECUTORS
from lico_bench.bench.plan import Plan
from lico_bench.bench.reporter import Reporter
from lico_bench.runtime import pick_device
from lico_bench.store import RunFolder, sweep_leftovers


def execute(plan: Plan, out: Path, *, device: str, executor: str, reporter: Reporter) -> RunFolder:
    """Run every unfinished cell of `plan` into the folder `out`.

    Returns:
        The run folder, complete.

    Raises:
        RunMismatchError: if `out` holds another suite or something else; nothing is written.
        UnknownNameError: for an unknown executor.
        InvalidInputError: for a device that is not there.
    """
    run_cells = EXECUTORS[executor]
    pick_device(device)
    run = RunFolder(out)
    run.open_for(plan.manifest())
    sweep_leftovers(run.path)
    work = sum(cell.work.gigaflop for cell in plan.cells if not run.cell(cell.key).is_done)
    reporter.begin(cells=len(plan.cells), work=work)
    try:
        run_cells(plan, run, device=device, reporter=reporter)
    finally:
        reporter.end()
    return run
