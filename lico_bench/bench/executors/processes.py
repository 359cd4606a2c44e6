"""Several cells at a time on this machine, each in a worker process with its threads and device.

The parent hands out one cell at a time and shows what the workers tell. Each worker has a pipe of
its own: one that is killed while it speaks silences nobody else.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

import torch

from lico_bench.bench.executors import ExecutorOptions, unfinished
from lico_bench.bench.executors.worker import work_for
from lico_bench.bench.failures import record_lost
from lico_bench.bench.plan import Plan, PlannedCell
from lico_bench.bench.preemption import EXIT_PREEMPTED, GRACE_S, deferred, should_stop
from lico_bench.bench.reporter import Reporter
from lico_bench.data.image_source import num_workers as num_cores
from lico_bench.errors import Preempted
from lico_bench.runtime import pick_device
from lico_bench.store import RunFolder

TRIES = 3  # of a cell whose worker dies: what kills two more is likely the cell
LOOK_EVERY_S = 0.2  # for a preemption notice
SPARE_S = 1.0  # of the grace, for this process to end after its workers


def run_in_processes(
    plan: Plan, run: RunFolder, *, options: ExecutorOptions, reporter: Reporter
) -> None:
    """Run what is missing by `options.workers` workers; results are those of one after another.

    The cores are shared out, and GPUs go round. A cell whose worker dies is handed out again at
    most twice.

    Raises:
        Preempted: at a notice, when the workers have stored what is under way.
        DiskFullError: from a worker that met it; the others are stopped.
    """
    todo = unfinished(plan, run, reporter)
    if not todo:
        return
    crew = _WorkerPool(plan, run, options, reporter, todo)
    with deferred():  # a notice goes to the workers first
        try:
            crew.work_off()
        finally:
            crew.dismiss()


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    number: int
    cell: PlannedCell | None = None


@dataclass
class _WorkerPool:
    plan: Plan
    run: RunFolder
    options: ExecutorOptions
    reporter: Reporter
    waiting: list[PlannedCell]
    workers: list[_Worker] = field(default_factory=list)
    losses: dict[str, int] = field(default_factory=dict)

    def work_off(self) -> None:
        """Return when no cell waits and no worker is busy, or when a notice came."""
        while (self.waiting or self._busy()) and not should_stop():
            self._hand_out()
            sources = [source for w in self.workers for source in (w.pipe, w.process.sentinel)]
            ready = wait(sources, timeout=LOOK_EVERY_S)
            for worker in list(self.workers):
                if worker.pipe in ready:
                    self._hear(worker)
                if worker.process.sentinel in ready:
                    self._bury(worker)

    def dismiss(self) -> None:
        """Ask every worker to store what it does and to leave; who stays too long is killed."""
        for worker in self.workers:
            worker.process.terminate()
        deadline = time.monotonic() + GRACE_S - SPARE_S
        for worker in self.workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
            worker.process.close()
        self.workers.clear()

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.cell is not None]

    def _hand_out(self) -> None:
        while (cell := self._next_cell()) is not None:
            idle = [worker for worker in self.workers if worker.cell is None]
            if not idle and len(self.workers) == self.options.workers:
                return
            worker = idle[0] if idle else self._hire()
            self.waiting.remove(cell)
            worker.cell = cell
            try:
                worker.pipe.send(cell.key)
            except OSError:
                return  # it died just now: its sentinel says so in the next round

    def _next_cell(self) -> PlannedCell | None:
        """The first cell that needs no network which another cell is still to train."""
        open_keys = {c.key for c in self.waiting} | {w.cell.key for w in self._busy() if w.cell}
        for cell in self.waiting:
            scorer = self.plan.scorer_of(cell)
            if scorer is None or scorer.key not in open_keys:
                return cell
        return None

    def _hire(self) -> _Worker:
        taken = {worker.number for worker in self.workers}
        number = next(n for n in range(self.options.workers) if n not in taken)
        context: SpawnContext = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        threads = threads_per_worker(self.options.workers)
        device = device_of_worker(self.options.device, number)
        process = context.Process(
            target=work_for, args=(theirs, self.plan, self.run.path, device, threads), daemon=True
        )
        with _environment("OMP_NUM_THREADS", str(threads)):  # read when torch is imported
            process.start()
        theirs.close()
        worker = _Worker(process, ours, number)
        self.workers.append(worker)
        return worker

    def _hear(self, worker: _Worker) -> None:
        """Pass on what a worker says, until it has no more to say."""
        for kind, *content in _messages(worker.pipe):
            if kind == "idle":
                worker.cell = None
            elif kind == "stopped":
                raise content[0]
            else:
                name, args, options = content
                getattr(self.reporter, name)(*args, **options)

    def _bury(self, worker: _Worker) -> None:
        """Take a dead worker off the list; its cell is handed out again, or failed."""
        self._hear(worker)
        self.workers.remove(worker)
        worker.process.join()
        code = worker.process.exitcode or 0
        worker.pipe.close()
        worker.process.close()
        if code == EXIT_PREEMPTED:  # the notice went to the whole group
            raise Preempted
        cell = worker.cell
        if cell is None:
            return
        self.losses[cell.key] = self.losses.get(cell.key, 0) + 1
        if self.losses[cell.key] >= TRIES:
            record_lost(cell, self.run, f"{_how(code)}, {TRIES} times", self.reporter)
        else:
            self.waiting.insert(0, cell)
            self.reporter.note(f"{cell.title}: its worker {_how(code)}; another one goes on")


def threads_per_worker(workers: int) -> int:
    """Threads of each worker: the cores shared out, never more than this process has."""
    return max(1, min(num_cores() // workers, torch.get_num_threads()))


def device_of_worker(device: str, number: int) -> str:
    """`device`, or one of the machine's GPUs in turn where no certain one is asked for."""
    chosen = pick_device(device)
    if chosen.type == "cuda" and chosen.index is None:
        return f"cuda:{number % torch.cuda.device_count()}"
    return str(chosen)


def _messages(pipe: Connection) -> Iterator[tuple[Any, ...]]:
    """What waits in a pipe; of a worker that died, whatever it had said in full."""
    try:
        while pipe.poll():
            yield pipe.recv()
    except (EOFError, OSError):
        return  # its sentinel tells how it ended


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"was ended by {name}" + (" (memory?)" if -code == signal.SIGKILL else "")


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
