"""Status of a run's Ray tasks, exchanged through files on shared storage.

RUN/.tasks/<cell>.<stage>.json holds the attempt that runs a stage of a cell, its host and its
progress. The newest attempt owns the stage. An attempt that finds another one in the file exits at
once: its machine was considered lost and the task was restarted. RUN/.tasks/stop requests all tasks
to stop.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType

from lico_bench.bench.reporter import NoOpReporter
from lico_bench.errors import EXIT_PREEMPTED
from lico_bench.store.files import naming_full_disk

FOLDER = ".tasks"
REPORT_EVERY_S = 0.5
MISSES = 4  # consecutive checks without a status file before a task considers its run ended


@dataclass(frozen=True)
class TaskStatus:
    """Progress of one attempt at a stage of a cell."""

    cell: str
    stage: str
    attempt: str
    host: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class StatusBoard:
    """The folder RUN/.tasks."""

    path: Path

    def open(self) -> None:
        """Create an empty folder; tasks of an earlier run find their files missing and exit."""
        self.close()
        self.path.mkdir(parents=True)

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write(self, status: TaskStatus) -> None:
        """Store the status of a stage atomically."""
        file = self._file(status.cell, status.stage)
        draft = self.path / f".{status.cell}.{status.attempt}"
        with naming_full_disk(file):
            draft.write_text(json.dumps(asdict(status)), encoding="utf-8")
            draft.replace(file)

    def read(self, cell: str, stage: str) -> TaskStatus | None:
        """Return the stored status of a stage of `cell`; None if there is none."""
        return _read(self._file(cell, stage))

    def read_all(self) -> Iterator[TaskStatus]:
        """Yield the status of every running stage."""
        for path in sorted(self.path.glob("[!.]*.json")):
            status = _read(path)
            if status is not None:
                yield status

    def remove(self, cell: str, stage: str) -> None:
        """Delete the status of a stage that has ended."""
        self._file(cell, stage).unlink(missing_ok=True)

    def request_stop(self) -> None:
        """Request every task to store its state and stop."""
        with contextlib.suppress(FileNotFoundError):  # no board is open, so no task runs
            (self.path / "stop").touch()

    @property
    def is_stopping(self) -> bool:
        """Whether the tasks were requested to stop."""
        return (self.path / "stop").exists()

    def _file(self, cell: str, stage: str) -> Path:
        return self.path / f"{cell}.{stage}.json"


@dataclass
class StatusReporter(NoOpReporter):
    """Reporter of a task: a thread writes its progress to the board inside the block.

    The thread also sends this process a preemption signal when the run stops, and ends this process
    when another attempt owns the stage, so that two processes never write the same files.

    Attributes:
        messages: cell titles and messages of finished cells, returned to the driver.
    """

    board: StatusBoard
    status: TaskStatus
    messages: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> StatusReporter:
        self.board.write(self.status)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sync, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def advance(self, done: int, total: int, *, cell: str | None = None) -> None:
        """Record the progress; the thread writes it."""
        self.status = replace(self.status, done=done, total=total)

    def finish(self, cell: str, message: str) -> None:
        """Record the message."""
        self.messages.append((cell, message))

    def _sync(self) -> None:
        last, is_signalled, misses = self.status, False, 0
        while not self._is_over.wait(REPORT_EVERY_S):
            stored = self.board.read(last.cell, last.stage)
            misses = misses + 1 if stored is None else 0
            is_replaced = stored is not None and stored.attempt != last.attempt
            if is_replaced or misses == MISSES:
                os._exit(EXIT_PREEMPTED)  # no cleanup: another attempt owns the files
            if not is_signalled and self.board.is_stopping:
                is_signalled = True
                os.kill(os.getpid(), signal.SIGTERM)
            if self.status != last:
                last = self.status
                with contextlib.suppress(OSError):  # the board may be deleted at this moment
                    self.board.write(last)


def new_attempt(cell: str, stage: str) -> TaskStatus:
    """Return the initial status of a new attempt with a unique identifier."""
    return TaskStatus(cell, stage, uuid.uuid4().hex, socket.gethostname())


def _read(path: Path) -> TaskStatus | None:
    try:
        return TaskStatus(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
