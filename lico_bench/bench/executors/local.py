"""Local execution: cells one by one in this process, or in parallel worker processes.

With workers, the parent assigns one cell at a time to each and forwards their messages. Each worker
has its own pipe, so that a worker killed while it sends cannot block the others.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

import torch

from lico_bench.bench.cell import (
    Cell,
    RunContext,
    RunPlan,
    SplitCache,
    run_cell,
    run_unfinished,
    scoring_cell_of,
)
from lico_bench.bench.executors import EXECUTORS, ExecutorOptions, unfinished
from lico_bench.bench.interruption import (
    GRACE_S,
    defer_preemption,
    preemptible,
    should_stop,
)
from lico_bench.bench.reporter import NoOpReporter, Reporter, record_lost
from lico_bench.data.image_files import num_workers as num_cores
from lico_bench.errors import EXIT_PREEMPTED, Preempted
from lico_bench.runtime import pick_device
from lico_bench.store import RunFolder

MAX_ATTEMPTS = 3  # per cell; after three dead workers the cell is likely the cause
REPORT_EVERY_S = 0.2  # between two progress events; terminals do not redraw faster
POLL_S = 0.2  # interval of checks for a preemption signal
EXIT_MARGIN_S = 1.0  # part of the grace period left for this process after its workers


@EXECUTORS.register("local")
def run_locally(
    plan: RunPlan, run: RunFolder, *, options: ExecutorOptions, reporter: Reporter
) -> None:
    """Run the unfinished cells in the plan's order, or in `options.workers` processes."""
    if options.workers > 1:
        run_in_processes(plan, run, options=options, reporter=reporter)
        return
    context = RunContext(plan, run, SplitCache(plan.root), options.device, reporter)
    run_unfinished(context)


def run_in_processes(
    plan: RunPlan, run: RunFolder, *, options: ExecutorOptions, reporter: Reporter
) -> None:
    """Run the unfinished cells in `options.workers` processes; results equal a sequential run.

    CPU cores are divided among the workers, GPUs are assigned round robin. A cell whose worker
    dies is assigned again at most twice.

    Raises:
        Preempted: at a preemption signal, after the workers have stored their state.
        DiskFullError: if a worker raised it; the other workers are stopped.
    """
    todo = unfinished(plan, run, reporter)
    if not todo:
        return
    pool = _WorkerPool(plan, run, options, reporter, todo)
    with defer_preemption():  # the workers are stopped first
        try:
            pool.run_cells()
        finally:
            pool.shut_down()


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    number: int
    cell: Cell | None = None


@dataclass
class _WorkerPool:
    plan: RunPlan
    run: RunFolder
    options: ExecutorOptions
    reporter: Reporter
    waiting: list[Cell]
    workers: list[_Worker] = field(default_factory=list)
    deaths: dict[str, int] = field(default_factory=dict)

    def run_cells(self) -> None:
        """Run all waiting cells; return when they are finished or a preemption signal came."""
        while (self.waiting or self._busy()) and not should_stop():
            self._assign_cells()
            sources = [source for w in self.workers for source in (w.pipe, w.process.sentinel)]
            ready = wait(sources, timeout=POLL_S)
            for worker in list(self.workers):
                if worker.pipe in ready:
                    self._read_messages(worker)
                if worker.process.sentinel in ready:
                    self._remove_dead(worker)

    def shut_down(self) -> None:
        """Send SIGTERM to every worker and kill those that do not end within the grace period."""
        for worker in self.workers:
            worker.process.terminate()
        deadline = time.monotonic() + GRACE_S - EXIT_MARGIN_S
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

    def _assign_cells(self) -> None:
        while (cell := self._next_cell()) is not None:
            idle = [worker for worker in self.workers if worker.cell is None]
            if not idle and len(self.workers) == self.options.workers:
                return
            worker = idle[0] if idle else self._start_worker()
            self.waiting.remove(cell)
            worker.cell = cell
            try:
                worker.pipe.send(cell.key)
            except OSError:
                return  # the worker just died; the next round handles its sentinel

    def _next_cell(self) -> Cell | None:
        """Return the first waiting cell whose scorer is not waiting or running."""
        unfinished_keys = {c.key for c in self.waiting}
        unfinished_keys |= {w.cell.key for w in self._busy() if w.cell}
        for cell in self.waiting:
            scorer = scoring_cell_of(self.plan, cell)
            if scorer is None or scorer.key not in unfinished_keys:
                return cell
        return None

    def _start_worker(self) -> _Worker:
        used = {worker.number for worker in self.workers}
        number = next(n for n in range(self.options.workers) if n not in used)
        context: SpawnContext = multiprocessing.get_context("spawn")
        pipe, worker_pipe = context.Pipe()
        threads = threads_per_worker(self.options.workers)
        device = device_of_worker(self.options.device, number)
        process = context.Process(
            target=run_worker,
            args=(worker_pipe, self.plan, self.run.path, device, threads),
            daemon=True,
        )
        with _environment("OMP_NUM_THREADS", str(threads)):  # read when torch is imported
            process.start()
        worker_pipe.close()
        worker = _Worker(process, pipe, number)
        self.workers.append(worker)
        return worker

    def _read_messages(self, worker: _Worker) -> None:
        """Handle all messages in a worker's pipe."""
        for kind, *content in _messages(worker.pipe):
            if kind == "idle":
                worker.cell = None
            elif kind == "stopped":
                raise content[0]
            else:
                name, args, options = content
                getattr(self.reporter, name)(*args, **options)

    def _remove_dead(self, worker: _Worker) -> None:
        """Remove a dead worker; assign its cell again or record it as failed."""
        self._read_messages(worker)
        self.workers.remove(worker)
        worker.process.join()
        code = worker.process.exitcode or 0
        worker.pipe.close()
        worker.process.close()
        if code == EXIT_PREEMPTED:  # the signal was sent to the whole process group
            raise Preempted
        cell = worker.cell
        if cell is None:
            return
        self.deaths[cell.key] = self.deaths.get(cell.key, 0) + 1
        if self.deaths[cell.key] >= MAX_ATTEMPTS:
            record_lost(
                cell, self.run, f"{_describe_exit(code)}, {MAX_ATTEMPTS} times", self.reporter
            )
        else:
            self.waiting.insert(0, cell)
            self.reporter.note(
                f"{cell.title}: its worker {_describe_exit(code)}; another worker continues"
            )


def threads_per_worker(workers: int) -> int:
    """Return threads per worker: the cores divided, at most the threads of this process."""
    return max(1, min(num_cores() // workers, torch.get_num_threads()))


def device_of_worker(device: str, number: int) -> str:
    """Return the device of worker `number`; GPUs round robin unless `device` has an index."""
    picked = pick_device(device)
    if picked.type == "cuda" and picked.index is None:
        return f"cuda:{number % torch.cuda.device_count()}"
    return str(picked)


def _messages(pipe: Connection) -> Iterator[tuple[Any, ...]]:
    """Yield the complete messages in a pipe, also those of a dead worker."""
    try:
        while pipe.poll():
            yield pipe.recv()
    except (EOFError, OSError):
        return  # the sentinel reports the dead worker


def _describe_exit(code: int) -> str:
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


def run_worker(pipe: Connection, plan: RunPlan, path: Path, device: str, threads: int) -> None:
    """Run the cells whose keys arrive through `pipe` until it is closed.

    Messages sent back: `("report", name, args, options)` for each reporter call, `("idle",)`
    after a cell, `("stopped", error)` for an error that stops the run. The exit code after a
    preemption signal is 75.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and stops the workers
    torch.set_num_threads(threads)
    cells = {cell.key: cell for cell in plan.cells}
    context = RunContext(plan, RunFolder(path), SplitCache(plan.root), device, _PipedReporter(pipe))
    try:
        with preemptible():
            while True:
                run_cell(cells[pipe.recv()], context)
                pipe.send(("idle",))
    except Preempted:
        sys.exit(EXIT_PREEMPTED)
    except EOFError:
        pass  # the parent closed the pipe
    except Exception as error:
        pipe.send(("stopped", error))


class _PipedReporter(NoOpReporter):
    """Sends events to the parent; progress at most every `REPORT_EVERY_S` seconds."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._cell = ""
        self._reported = 0.0

    def stage(self, cell: str, stage: str, *, work: float) -> None:
        """Send the start of a stage."""
        self._cell = cell
        self._send("stage", cell, stage, work=work)

    def advance(self, done: int, total: int, *, cell: str | None = None) -> None:
        """Send progress with the cell's name, since several workers report."""
        now = time.monotonic()
        if done == total or now - self._reported > REPORT_EVERY_S:
            self._reported = now
            self._send("advance", done, total, cell=cell or self._cell)

    def finish(self, cell: str, message: str) -> None:
        """Send the end of a cell."""
        self._send("finish", cell, message)

    def note(self, sentence: str) -> None:
        """Send a message for the user."""
        self._send("note", sentence)

    def _send(self, name: str, *args: object, **options: object) -> None:
        try:
            self._pipe.send(("report", name, args, options))
        except OSError:
            os._exit(EXIT_PREEMPTED)  # the parent has ended; the cell has not failed


def _end_with_parent() -> None:
    """Exit when the parent ends, so that another process can use the run folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(EXIT_PREEMPTED)
