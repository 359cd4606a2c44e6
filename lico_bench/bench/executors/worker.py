"""Worker process: run the cells it receives and send their progress events back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from lico_bench.bench.cell import RunContext, run_cell
from lico_bench.bench.plan import RunPlan
from lico_bench.bench.preemption import EXIT_PREEMPTED, preemptible
from lico_bench.bench.reporter import NoOpReporter
from lico_bench.bench.split_cache import SplitCache
from lico_bench.errors import Preempted
from lico_bench.store import RunFolder

REPORT_EVERY_S = 0.2  # between two progress events; terminals do not redraw faster


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
