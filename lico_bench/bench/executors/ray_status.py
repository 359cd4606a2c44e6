"""What the tasks of a run are doing, told through files that every machine sees.

RUN/.tasks/<cell>.<stage>.json says which attempt at a stage of a cell is at work, where, and how
far it is. The newest attempt owns the stage: one that finds another's name there (its machine was
believed to be lost, and the work was given to another) ends at once. RUN/.tasks/stop asks all to
stop.
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
MISSES = 4  # looks in a row that find no file before a task takes its run for gone


@dataclass(frozen=True)
class TaskStatus:
    """What a task says of itself."""

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
        """Start with an empty board; tasks of an earlier run find their names gone and end."""
        self.close()
        self.path.mkdir(parents=True)

    def close(self) -> None:
        """Take the board away."""
        shutil.rmtree(self.path, ignore_errors=True)

    def tell(self, message: TaskStatus) -> None:
        """Put up what is done at a stage, whole or not at all."""
        file = self._file(message.cell, message.stage)
        draft = self.path / f".{message.cell}.{message.attempt}"
        with naming_full_disk(file):
            draft.write_text(json.dumps(asdict(message)), encoding="utf-8")
            draft.replace(file)

    def message(self, cell: str, stage: str) -> TaskStatus | None:
        """What was last told of a stage of `cell`; None if there is nothing."""
        return _read(self._file(cell, stage))

    def all_messages(self) -> Iterator[TaskStatus]:
        """Every stage that is at work."""
        for path in sorted(self.path.glob("[!.]*.json")):
            message = _read(path)
            if message is not None:
                yield message

    def take_down(self, cell: str, stage: str) -> None:
        """The stage has ended."""
        self._file(cell, stage).unlink(missing_ok=True)

    def ask_to_stop(self) -> None:
        """Every task is to store what it has and to end."""
        with contextlib.suppress(FileNotFoundError):  # nobody has opened it, nobody listens
            (self.path / "stop").touch()

    @property
    def is_stopping(self) -> bool:
        """Whether the tasks were asked to stop."""
        return (self.path / "stop").exists()

    def _file(self, cell: str, stage: str) -> Path:
        return self.path / f"{cell}.{stage}.json"


@dataclass
class StatusReporter(NoOpReporter):
    """A task's reporter: how far it is goes to the board from a thread while the block lasts.

    The thread also hears: when the run stops it sends this process a preemption notice, and when
    another attempt has taken the stage it ends this process, before two write the same files.

    Attributes:
        said: messages of finished cells, for the one who asked for the task.
    """

    board: StatusBoard
    message: TaskStatus
    said: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> StatusReporter:
        self.board.tell(self.message)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._tell_and_hear, daemon=True)
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
        """Remember how far the stage is."""
        self.message = replace(self.message, done=done, total=total)

    def finish(self, cell: str, message: str) -> None:
        """Keep the message."""
        self.said.append((cell, message))

    def _tell_and_hear(self) -> None:
        last, is_asked, misses = self.message, False, 0
        while not self._is_over.wait(REPORT_EVERY_S):
            found = self.board.message(last.cell, last.stage)
            misses = misses + 1 if found is None else 0
            is_taken = found is not None and found.attempt != last.attempt
            if is_taken or misses == MISSES:
                os._exit(EXIT_PREEMPTED)  # nothing is to be cleaned up: all of it is another's now
            if not is_asked and self.board.is_stopping:
                is_asked = True
                os.kill(os.getpid(), signal.SIGTERM)
            if self.message != last:
                last = self.message
                with contextlib.suppress(OSError):  # the board is taken down just now
                    self.board.tell(last)


def new_attempt(cell: str, stage: str) -> TaskStatus:
    """The first thing that a task says, under a name that no other has."""
    return TaskStatus(cell, stage, uuid.uuid4().hex, socket.gethostname())


def _read(path: Path) -> TaskStatus | None:
    try:
        return TaskStatus(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
