"""Data-parallel execution: the processes of one command train and score each cell together.

The processes form a torch process group. They are started here with the user's command line, and
each reads its rank from an environment variable; torchrun would print a traceback of its own for an
error that is one sentence here, and exit with 1. Alternatively, torchrun or a scheduler that sets
the same variables has started all of them. The leader iterates over the plan, writes the results
and broadcasts the next stage to the followers. In scoring, each process stores its own parts, so
all need access to the run folder.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from lico_bench.bench.cell import RunContext, RunPlan, SplitCache, follow_cell, run_unfinished
from lico_bench.bench.executors import EXECUTORS, ExecutorOptions
from lico_bench.bench.interruption import preemptible
from lico_bench.bench.plan import PlannedCell
from lico_bench.bench.reporter import NoOpReporter, Reporter
from lico_bench.errors import InvalidInputError, LostPeersError, MissingDataError, Preempted
from lico_bench.runtime import pick_device
from lico_bench.store import RunFolder
from lico_bench.training.distributed import Peers
from lico_bench.training.loop import check_shareable

PROCESS_VARIABLE = "LICO_BENCH_PLACE"
TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
LOCALHOST = "127.0.0.1"
EXIT_WAIT_S = 20.0  # for the other processes to end after the work is done
ERROR_WAIT_S = 10.0  # for this process to raise its own error after another has ended
POLL_S = 0.5
LOST_PROCESS_MESSAGE = (
    "\nlico-bench: another process of this training has ended. Finished results are stored; "
    "repeat the same command to continue.\n"
)
EXIT_BAD_INPUT = 2  # the exit code of every error with a message
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


@dataclass(frozen=True)
class ProcessInfo:
    """Rank of a process among the processes of one command.

    Attributes:
        rank, count: rank and number of processes; rank 0 is the leader.
        local_rank, local_count: rank and number of processes on this machine.
        address: host and port of the leader's store; None if torch reads the environment.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    address: tuple[str, int] | None = None

    @property
    def is_leader(self) -> bool:
        """Whether this process writes results and reports progress."""
        return self.rank == 0

    def device(self, requested: str) -> str:
        """Return the device of this process, given the device requested for all of them.

        Raises:
            InvalidInputError: if there are fewer GPUs than processes, or `requested` names one GPU.
        """
        if self.count == 1:
            return requested
        kind = pick_device(requested)
        if kind.type == "cpu":
            return "cpu"
        if kind.type != "cuda" or requested not in ("auto", "cuda"):
            raise InvalidInputError(
                f"--device {requested}: several processes need cpu, or cuda for one GPU each"
            )
        if torch.cuda.device_count() < self.local_count:
            raise InvalidInputError(
                f"--devices {self.local_count}: this machine has {torch.cuda.device_count()} "
                "GPUs; pass at most this number, or use --device cpu"
            )
        return f"cuda:{self.local_rank}"


@contextmanager
def join_process_group(*, devices: int, num_nodes: int) -> Iterator[ProcessInfo]:
    """Join a process group of `devices` times `num_nodes` processes inside the block.

    The other processes of this machine are started here, unless torchrun has started them.

    Raises:
        InvalidInputError: if the numbers contradict torchrun's, or if the leader's address is
            missing for several machines.
    """
    info = find_process_info(os.environ, devices=devices, num_nodes=num_nodes)
    started: list[subprocess.Popen[bytes]] = []
    is_over = threading.Event()
    try:
        if info.count > 1:
            _share_threads(info)
            store = None if info.address is None else _open_store(info)
            if PROCESS_VARIABLE not in os.environ and store is not None:
                started = _start_others(info, store.port)
                threading.Thread(target=_watch, args=(started, is_over), daemon=True).start()
            _join(info, store)
        yield info
        with suppress(subprocess.TimeoutExpired):
            for process in started:
                process.wait(EXIT_WAIT_S)
    finally:
        is_over.set()
        for process in started:
            process.kill()  # safe, since files are written atomically
            process.wait()
        if dist.is_initialized():
            dist.destroy_process_group()


def find_process_info(
    environment: Mapping[str, str], *, devices: int, num_nodes: int
) -> ProcessInfo:
    """Read this process's rank from the environment; default to the first on this machine.

    Raises:
        InvalidInputError: see `join_process_group`.
    """
    requested = devices * num_nodes
    if PROCESS_VARIABLE in environment:
        fields = json.loads(environment[PROCESS_VARIABLE])
        return ProcessInfo(**{**fields, "address": tuple(fields["address"])})
    if all(name in environment for name in TORCHRUN_VARIABLES):
        info = ProcessInfo(
            int(environment["RANK"]),
            int(environment["WORLD_SIZE"]),
            int(environment["LOCAL_RANK"]),
            int(environment.get("LOCAL_WORLD_SIZE", devices)),
        )
        if requested not in (1, info.count):
            raise InvalidInputError(
                f"--devices {devices} --num-nodes {num_nodes}: {info.count} processes were "
                "started from outside; leave the two options out"
            )
        return info
    if num_nodes == 1:
        return ProcessInfo(0, devices, 0, devices, (LOCALHOST, 0))
    if not all(name in environment for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")):
        raise InvalidInputError(
            f"--num-nodes {num_nodes}: give the same command on every machine, with NODE_RANK (0 "
            "to the last) and MASTER_ADDR and MASTER_PORT of machine 0 in the environment; or "
            f"start it there with torchrun --nnodes {num_nodes} --nproc-per-node {devices} "
            "-m lico_bench"
        )
    address = (environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))
    return ProcessInfo(int(environment["NODE_RANK"]) * devices, requested, 0, devices, address)


def _open_store(info: ProcessInfo) -> Any:
    """Open the key-value store for the rendezvous; port 0 lets the leader choose a port."""
    host, port = info.address or (LOCALHOST, 0)
    return dist.TCPStore(  # type: ignore[attr-defined]
        host, port, info.count, is_master=info.is_leader, wait_for_workers=False
    )


def _start_others(info: ProcessInfo, port: int) -> list[subprocess.Popen[bytes]]:
    """Start the other processes of this machine with the same command line."""
    host = (info.address or (LOCALHOST, 0))[0]
    processes = []
    for number in range(1, info.local_count):
        child = ProcessInfo(info.rank + number, info.count, number, info.local_count, (host, port))
        environment = {**os.environ, PROCESS_VARIABLE: json.dumps(asdict(child))}
        command = [sys.executable, "-m", "lico_bench", *sys.argv[1:]]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    return processes


def _watch(started: list[subprocess.Popen[bytes]], is_over: threading.Event) -> None:
    """End this process if another failed, since a collective operation may wait forever."""
    while not is_over.wait(POLL_S):
        if any(process.poll() for process in started) and not is_over.wait(ERROR_WAIT_S):
            os.write(2, LOST_PROCESS_MESSAGE.encode())
            os._exit(EXIT_BAD_INPUT)


def _join(info: ProcessInfo, store: Any) -> None:
    """Initialise torch's process group; a process started here ends with its parent."""
    if PROCESS_VARIABLE in os.environ:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader handles it and ends the others
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    has_gpus = torch.cuda.is_available()
    if has_gpus and info.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(info.local_rank)
    backend = "cpu:gloo,cuda:nccl" if has_gpus else "gloo"
    if store is None:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=store, rank=info.rank, world_size=info.count)


def _share_threads(info: ProcessInfo) -> None:
    """Divide the threads among the processes of this machine, unless OMP_NUM_THREADS is set."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // info.local_count))


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
