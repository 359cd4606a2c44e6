"""Data-parallel execution: all processes of one command train each cell together.

The leader iterates over the plan, writes the results and broadcasts the next stage to the
followers. In scoring, each process stores its own parts, so all need access to the run folder.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from lico_bench.bench.cell import RunContext, SplitCache, follow_cell, run_unfinished
from lico_bench.bench.executors import EXECUTORS, ExecutorOptions
from lico_bench.bench.interruption import preemptible
from lico_bench.bench.plan import PlannedCell, RunPlan
from lico_bench.bench.process_group import ProcessInfo
from lico_bench.bench.reporter import NoOpReporter, Reporter
from lico_bench.errors import InvalidInputError, LostPeersError, MissingDataError, Preempted
from lico_bench.store import RunFolder
from lico_bench.training.distributed import Peers
from lico_bench.training.loop import check_shareable


@EXECUTORS.register("together")
def run_data_parallel(
    plan: RunPlan, run: RunFolder, *, options: ExecutorOptions, reporter: Reporter
) -> None:
    """Run the unfinished cells in the plan's order as leader of the processes in `follow`.

    Raises:
        LostPeersError: if a follower has ended.
        InvalidInputError: if batches cannot be divided among the processes.
        LicoBenchError: if a follower cannot access the run folder.
    """
    peers = Peers.from_process_group()
    context = RunContext(plan, run, SplitCache(plan.root), options.device, reporter, peers)
    peers.run_on_all(partial(_check_ready, plan, run, peers))
    run_unfinished(context)
    peers.broadcast(None)


def follow(plan: RunPlan, out: Path, *, device: str) -> None:
    """Compute this process's share of each stage that the leader broadcasts, until it stops.

    A preemption ends it silently: the leader stores the state and reports the preemption.

    Raises:
        LostPeersError: if another process has ended.
        LicoBenchError: if a process is not ready for this plan.
    """
    peers, run = Peers.from_process_group(), RunFolder(out)
    context = RunContext(plan, run, SplitCache(plan.root), device, NoOpReporter(), peers)
    cells = {cell.key: cell for cell in plan.cells}
    with suppress(Preempted), preemptible():
        peers.run_on_all(partial(_check_ready, plan, run, peers))
        while (next_stage := peers.broadcast(None)) is not None:
            stage, key = next_stage
            try:
                follow_cell(stage, cells[key], context)
            except LostPeersError:
                raise
            except Exception:  # the leader raises the same error and records it
                continue


def process_options(info: ProcessInfo, options: ExecutorOptions, executor: str) -> ExecutorOptions:
    """Return the command's `options` with the device of one process.

    Args:
        executor: name given by the user.

    Raises:
        InvalidInputError: for several workers, another executor, or a missing device.
    """
    if options.workers > 1 or executor not in ("local", "together"):
        raise InvalidInputError(
            f"{info.count} processes train each model together; "
            "--devices and --num-nodes go neither with --workers nor with another --executor: "
            "leave these out"
        )
    return replace(options, device=info.device(options.device))


def _check_ready(plan: RunPlan, run: RunFolder, peers: Peers) -> None:
    for cell in plan.cells:
        if isinstance(cell, PlannedCell):
            check_shareable(cell.recipe, peers)
    if not run.manifest_path.is_file():
        raise MissingDataError(
            f"{run.path}: process {peers.rank} cannot find the run folder; pass an --out folder "
            "on storage that all machines share"
        )
