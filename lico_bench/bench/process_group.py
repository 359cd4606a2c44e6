"""One command in several processes: started here, or by torchrun, and joined in a process group.

The processes that are started here repeat the command that the user gave; each finds its place in
an environment variable. Started by torchrun, or by a scheduler that sets the same variables, they
are there already.
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
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist

from lico_bench.errors import InvalidInputError
from lico_bench.runtime import pick_device

USER_VARIABLE = "LICO_BENCH_PLACE"
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
HERE = "127.0.0.1"
LEAVING_S = 20.0  # for the others to end after the work is done
NOTICING_S = 10.0  # for this process to find out by itself that another is gone
LOOKING_S = 0.5
GONE = (
    "\nlico-bench: a process that trains together with this one is gone. What is finished is "
    "stored; repeat the same command to go on from there.\n"
)
EXIT_BAD_INPUT = 2  # as every error that is told in a sentence
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>


@dataclass(frozen=True)
class Place:
    """Where a process stands among those of one command.

    Attributes:
        rank, count: its number among all; 0 leads.
        local_rank, local_count: its number on this machine.
        address: host and port where the leader waits; None if torch reads the environment.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    address: tuple[str, int] | None = None

    @property
    def is_leader(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def device(self, requested: str) -> str:
        """The device of this process, `asked` for all of them.

        Raises:
            InvalidInputError: if the machine has fewer than it has processes, or one is named.
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
                "GPUs; ask for as many, or use --device cpu"
            )
        return f"cuda:{self.local_rank}"


@contextmanager
def joined(*, devices: int, num_nodes: int) -> Iterator[Place]:
    """Inside the block this process is one of `devices` times `num_nodes` that work together.

    Where none of them was started from outside, those of this machine are started here.

    Raises:
        InvalidInputError: if the numbers are not those that were started, or, for several machines,
            if it is not said where the leader is.
    """
    place = find_process_rank(os.environ, devices=devices, num_nodes=num_nodes)
    started: list[subprocess.Popen[bytes]] = []
    is_over = threading.Event()
    try:
        if place.count > 1:
            _share_threads(place)
            store = None if place.address is None else _open_store(place)
            if USER_VARIABLE not in os.environ and store is not None:
                started = _start_others(place, store.port)
                threading.Thread(target=_watch, args=(started, is_over), daemon=True).start()
            _join(place, store)
        yield place
        with suppress(subprocess.TimeoutExpired):
            for process in started:
                process.wait(LEAVING_S)
    finally:
        is_over.set()
        for process in started:
            process.kill()  # they write whole files or none
            process.wait()
        if dist.is_initialized():
            dist.destroy_process_group()


def find_process_rank(environment: Mapping[str, str], *, devices: int, num_nodes: int) -> Place:
    """The place that the environment tells, or that of the first process on this machine.

    Raises:
        InvalidInputError: see `joined`.
    """
    requested = devices * num_nodes
    if USER_VARIABLE in environment:
        message = json.loads(environment[USER_VARIABLE])
        return Place(**{**message, "address": tuple(message["address"])})
    if all(name in environment for name in TORCHRUN):
        place = Place(
            int(environment["RANK"]),
            int(environment["WORLD_SIZE"]),
            int(environment["LOCAL_RANK"]),
            int(environment.get("LOCAL_WORLD_SIZE", devices)),
        )
        if requested not in (1, place.count):
            raise InvalidInputError(
                f"--devices {devices} --num-nodes {num_nodes}: {place.count} processes were "
                "started from outside; leave the two options out"
            )
        return place
    if num_nodes == 1:
        return Place(0, devices, 0, devices, (HERE, 0))
    if not all(name in environment for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")):
        raise InvalidInputError(
            f"--num-nodes {num_nodes}: give the same command on every machine, with NODE_RANK (0 "
            "to the last) and MASTER_ADDR and MASTER_PORT of machine 0 in the environment; or "
            f"start it there with torchrun --nnodes {num_nodes} --nproc-per-node {devices} "
            "-m lico_bench"
        )
    address = (environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))
    return Place(int(environment["NODE_RANK"]) * devices, requested, 0, devices, address)


def _open_store(place: Place) -> Any:
    """Where the processes find each other; the leader's chooses a port where none is given."""
    host, port = place.address or (HERE, 0)
    return dist.TCPStore(  # type: ignore[attr-defined]
        host, port, place.count, is_master=place.is_leader, wait_for_workers=False
    )


def _start_others(place: Place, port: int) -> list[subprocess.Popen[bytes]]:
    """The other processes of this machine, with the command line of this one."""
    host = (place.address or (HERE, 0))[0]
    processes = []
    for number in range(1, place.local_count):
        other = Place(place.rank + number, place.count, number, place.local_count, (host, port))
        environment = {**os.environ, USER_VARIABLE: json.dumps(asdict(other))}
        command = [sys.executable, "-m", "lico_bench", *sys.argv[1:]]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    return processes


def _watch(started: list[subprocess.Popen[bytes]], is_over: threading.Event) -> None:
    """End this process if another failed and it does not notice: it may wait for it for ever."""
    while not is_over.wait(LOOKING_S):
        if any(process.poll() for process in started) and not is_over.wait(NOTICING_S):
            os.write(2, GONE.encode())
            os._exit(EXIT_BAD_INPUT)


def _join(place: Place, store: Any) -> None:
    """Make torch's process group; a process that was started here ends with the one before it."""
    if USER_VARIABLE in os.environ:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader hears it and ends the others
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    has_gpus = torch.cuda.is_available()
    if has_gpus and place.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(place.local_rank)
    backend = "cpu:gloo,cuda:nccl" if has_gpus else "gloo"
    if store is None:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.count)


def _share_threads(place: Place) -> None:
    """Give each process of this machine its share of the cores, unless the user did."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // place.local_count))
