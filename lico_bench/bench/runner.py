"""Lock and repair a run folder and run its unfinished cells with an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lico_bench.bench.executors import EXECUTORS, ExecutorOptions
from lico_bench.bench.interruption import preemptible
from lico_bench.bench.plan import Plan, RunPlan
from lico_bench.bench.reporter import Reporter
from lico_bench.bench.reuse import check_reusable, reuse_models
from lico_bench.errors import InvalidInputError
from lico_bench.runtime import pick_device
from lico_bench.store import RunFolder, RunLock, remove_stale_files, repair_cell
from lico_bench.store.run_records import Manifest


def execute(
    plan: RunPlan,
    out: Path,
    *,
    executor: str = "local",
    options: ExecutorOptions | None = None,
    wait: bool = False,
    reuse: RunFolder | None = None,
    starting: Callable[[RunFolder], object] = lambda _run: None,
    reporter: Reporter,
) -> RunFolder:
    """Run every unfinished cell of `plan` into the folder `out`.

    Damaged files of finished cells are quarantined first and computed again. Failed cells are
    recorded in `RunFolder.failures`; the next call runs them again.

    Args:
        wait: wait for a process that holds the folder's lock instead of raising.
        reuse: a run whose models are copied if recipe, data and code are the same.
        starting: called after repair and reuse, before the first cell runs.

    Returns:
        The run folder; complete except for failed cells.

    Raises:
        RunMismatchError: if `out` holds another suite or other files; nothing is written.
        RunBusyError: if another process holds the lock.
        UnknownNameError: for an unknown executor.
        InvalidInputError: for a missing device, a suite with `data="official"`, or a published
            copy as `reuse`.
        DiskFullError: if the disk is full.
        Preempted: at a preemption signal (SIGTERM), after the current state is stored.
    """
    if isinstance(plan, Plan) and plan.suite.data == "official":
        raise InvalidInputError(
            "--data official can only be planned; "
            "use it with --plan, or run with --data auto, real or standin"
        )
    options = options or ExecutorOptions()
    run_cells = EXECUTORS[executor]
    pick_device(options.device)
    if reuse is not None:
        check_reusable(reuse)
    keys = [cell.key for cell in plan.cells]
    with open_run(out, plan.manifest(), keys, wait=wait, reporter=reporter) as run:
        if reuse is not None:
            reuse_models(plan, run, reuse, reporter)
        starting(run)
        missing = [cell for cell in plan.cells if not run.cell(cell.key).is_done]
        reporter.begin(
            cells=len(plan.cells), work=sum(cell.cost.gigaflop for cell in missing)
        )
        try:
            run_cells(plan, run, options=options, reporter=reporter)
        finally:
            reporter.end()
    return run


@contextmanager
def open_run(
    out: Path, manifest: Manifest, keys: Iterable[str], *, wait: bool, reporter: Reporter
) -> Iterator[RunFolder]:
    """Lock the run folder `out`, check its manifest, remove stale files and repair its cells.

    Inside the block SIGTERM is a preemption signal. Records of failed cells are deleted, since
    these cells run again.

    Args:
        keys: keys of the suite's cells.

    Raises:
        RunMismatchError, BrokenFileError, RunBusyError: as `execute`.
    """
    run = RunFolder(out)
    run.check_for(manifest)  # before the lock file is written into a foreign folder
    with preemptible(), RunLock(out, wait=wait, note=reporter.note) as lock:
        for sentence in run.open_for(manifest):
            reporter.note(sentence)
        remove_stale_files(run.path, alone=lock.is_exclusive)
        for key in keys:
            for damage in repair_cell(run, key):
                reporter.note(f"{damage}; moved to {run.damaged}, will be computed again")
            run.cell(key).failure.unlink(missing_ok=True)
        yield run
