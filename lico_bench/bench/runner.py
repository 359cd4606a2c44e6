"""Open a run folder for one process at a time, mend it, and hand the cells to an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lico_bench.bench.executors import EXECUTORS, ExecutorOptions
from lico_bench.bench.plan import Plan
from lico_bench.bench.preemption import preemptible
from lico_bench.bench.reporter import Reporter
from lico_bench.bench.reuse import check_reusable, reuse_models
from lico_bench.errors import InvalidInputError
from lico_bench.runtime import pick_device
from lico_bench.store import RunFolder, RunLock, remove_stale_files, repair_cell


def execute(
    plan: Plan,
    out: Path,
    *,
    executor: str = "local",
    options: ExecutorOptions | None = None,
    wait: bool = False,
    reuse: RunFolder | None = None,
    starting: Callable[[RunFolder], None] = lambda _run: None,
    reporter: Reporter,
) -> RunFolder:
    """Run every unfinished cell of `plan` into the folder `out`.

    Damaged files of finished cells are set aside first and made anew. A cell that fails is
    recorded, see `RunFolder.failures`; another call tries it again.

    Args:
        wait: for another process that is at work on the folder, instead of raising.
        reuse: a run whose models are taken where they are of the same recipe, data and code.
        starting: called once the folder holds all that is kept, before the first cell is run.

    Returns:
        The run folder; complete, but for cells that failed.

    Raises:
        RunMismatchError: if `out` holds another suite or something else; nothing is written.
        RunBusyError: if another process is at work on it.
        UnknownNameError: for an unknown executor.
        InvalidInputError: for a device that is not there, a suite that can only be planned, or a
            published copy as the run to take models from.
        DiskFullError: if there is no room for what is to be written.
        Preempted: at a notice (SIGTERM), when what is under way is stored.
    """
    if plan.suite.data == "official":
        raise InvalidInputError(
            "--data official plans for complete datasets wherever they are; "
            "with --plan, or run with --data auto, real or standin"
        )
    options = options or ExecutorOptions()
    run_cells = EXECUTORS[executor]
    pick_device(options.device)
    if reuse is not None:
        check_reusable(reuse)
    keys = [cell.key for cell in plan.cells]
    with opened(out, plan.manifest(), keys, wait=wait, reporter=reporter) as run:
        if reuse is not None:
            reuse_models(plan, run, reuse, reporter)
        starting(run)
        missing = [cell for cell in plan.cells if not run.cell(cell.key).is_done]
        reporter.begin(cells=len(plan.cells), work=sum(cell.work.gigaflop for cell in missing))
        try:
            run_cells(plan, run, options=options, reporter=reporter)
        finally:
            reporter.end()
    return run


@contextmanager
def opened(
    out: Path, manifest: dict[str, Any], keys: Iterable[str], *, wait: bool, reporter: Reporter
) -> Iterator[RunFolder]:
    """The run folder `out`: locked for this process, of this suite, without damage or leftovers.

    Inside the block SIGTERM is a preemption notice. What an earlier try recorded as failed is
    forgotten, since it is tried again.

    Args:
        keys: of the cells that the suite has.

    Raises:
        RunMismatchError, BrokenFileError, RunBusyError: as `execute`.
    """
    run = RunFolder(out)
    run.check_for(manifest)  # before the lock's file is written where it has no business
    with preemptible(), RunLock(out, wait=wait, note=reporter.note) as lock:
        for sentence in run.open_for(manifest):
            reporter.note(sentence)
        remove_stale_files(run.path, alone=lock.is_exclusive)
        for key in keys:
            for damage in repair_cell(run, key):
                reporter.note(f"{damage}; set aside in {run.damaged}, and made anew")
            run.cell(key).failure.unlink(missing_ok=True)
        yield run
