"""All processes of one command on one cell after the other: they train it together.

The leader walks the plan and writes what belongs to a cell; the others hear from it what is next.
Of a scoring each process stores its own parts, so that the run folder must be one that all see.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from lico_bench.bench.cell import RunContext, follow_cell, run_cell
from lico_bench.bench.executors import EXECUTORS, ExecutorOptions
from lico_bench.bench.plan import Plan
from lico_bench.bench.preemption import preemptible
from lico_bench.bench.process_group import Place
from lico_bench.bench.reporter import NoOpReporter, Reporter
from lico_bench.bench.split_cache import SplitCache
from lico_bench.errors import InvalidInputError, LostPeersError, MissingDataError, Preempted
from lico_bench.store import RunFolder
from lico_bench.training.distributed import Peers
from lico_bench.training.preparation import check_shareable


@EXECUTORS.register("together")
def run_data_parallel(
    plan: Plan, run: RunFolder, *, options: ExecutorOptions, reporter: Reporter
) -> None:
    """Run what is missing in the plan's order, with the processes that are in `follow`.

    Raises:
        LostPeersError: if one of them is gone.
        InvalidInputError: for batches that cannot be shared out.
        LicoBenchError: if one of them does not see the run folder.
    """
    peers = Peers.meet()
    place = RunContext(plan, run, SplitCache(plan.root), options.device, reporter, peers)
    peers.attempt(partial(_check_ready, plan, run, peers))
    for cell in plan.cells:
        folder = run.cell(cell.key)
        if folder.is_done:
            reporter.skip(cell.title)
        elif not folder.failed:  # while its network was to score another cell
            run_cell(cell, place)
    peers.same(None)


def follow(plan: Plan, out: Path, *, device: str) -> None:
    """Do this process's share of every stage that the leader calls, until it calls no more.

    A preemption ends it without a word: the leader has stored what is under way, and says so.

    Raises:
        LostPeersError: if another process is gone.
        LicoBenchError: if a process is not ready for this plan.
    """
    peers, run = Peers.meet(), RunFolder(out)
    place = RunContext(plan, run, SplitCache(plan.root), device, NoOpReporter(), peers)
    cells = {cell.key: cell for cell in plan.cells}
    with suppress(Preempted), preemptible():
        peers.attempt(partial(_check_ready, plan, run, peers))
        while (called := peers.same(None)) is not None:
            stage, key = called
            try:
                follow_cell(stage, cells[key], place)
            except LostPeersError:
                raise
            except Exception:  # what fails in one fails in all, and the leader records it
                continue


def options_at(place: Place, options: ExecutorOptions, executor: str) -> ExecutorOptions:
    """`options` of the command for the process at `place`.

    Args:
        executor: that the user asked for.

    Raises:
        InvalidInputError: for several workers or another executor, or a device that is not there.
    """
    if options.workers > 1 or executor not in ("local", "together"):
        raise InvalidInputError(
            f"{place.count} processes train each model together: that goes neither with --workers "
            "nor with another --executor; leave these out"
        )
    return replace(options, device=place.device(options.device))


def _check_ready(plan: Plan, run: RunFolder, peers: Peers) -> None:
    for cell in plan.cells:
        check_shareable(cell.recipe, peers)
    if not run.manifest_path.is_file():
        raise MissingDataError(
            f"{run.path} is not there for process {peers.rank}; name a folder with --out that all "
            "machines see"
        )
