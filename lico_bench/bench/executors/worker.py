"""What a worker process does: run the cells it is told, and tell what happens."""

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
from lico_bench.bench.plan import Plan
from lico_bench.bench.preemption import EXIT_PREEMPTED, preemptible
from lico_bench.bench.reporter import NoOpReporter
from lico_bench.bench.split_cache import SplitCache
from lico_bench.errors import Preempted
from lico_bench.store import RunFolder

REPORT_EVERY_S = 0.2  # progress; more would only be drawn over


def work_for(pipe: Connection, plan: Plan, path: Path, device: str, threads: int) -> None:
    """Run cells by the keys that come through `pipe` until it is closed.

    Sent back: `("tell", name, args, options)` for each call of the reporter, `("idle",)` after a
    cell, `("stopped", error)` for what stops the run. Exit code 75 after a preemption notice.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, who says what to do
    torch.set_num_threads(threads)
    cells = {cell.key: cell for cell in plan.cells}
    place = RunContext(plan, RunFolder(path), SplitCache(plan.root), device, _PipedReporter(pipe))
    try:
        with preemptible():
            while True:
                run_cell(cells[pipe.recv()], place)
                pipe.send(("idle",))
    except Preempted:
        sys.exit(EXIT_PREEMPTED)
    except EOFError:
        pass  # nobody is left to work for
    except Exception as error:
        pipe.send(("stopped", error))


class _PipedReporter(NoOpReporter):
    """Tells the parent what it does not know itself, progress not too often."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._cell = ""
        self._message = 0.0

    def stage(self, cell: str, stage: str, *, work: float) -> None:
        """A stage starts."""
        self._cell = cell
        self._tell("stage", cell, stage, work=work)

    def advance(self, done: int, total: int, *, cell: str | None = None) -> None:
        """With the cell's name, since other workers advance as well."""
        now = time.monotonic()
        if done == total or now - self._message > REPORT_EVERY_S:
            self._message = now
            self._tell("advance", done, total, cell=cell or self._cell)

    def finish(self, cell: str, message: str) -> None:
        """A cell is finished."""
        self._tell("finish", cell, message)

    def note(self, sentence: str) -> None:
        """Something to know."""
        self._tell("note", sentence)

    def _tell(self, name: str, *args: object, **options: object) -> None:
        try:
            self._pipe.send(("tell", name, args, options))
        except OSError:
            os._exit(EXIT_PREEMPTED)  # the parent is gone: no failure of this cell


def _end_with_parent() -> None:
    """End at once when the parent is killed: the run folder is then free for another process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(EXIT_PREEMPTED)
