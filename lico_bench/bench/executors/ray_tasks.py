"""Functions that run on the nodes of a cluster, the stages of a cell, and their status files.

The status is exchanged through files on shared storage. RUN/.tasks/<cell>.<stage>.json holds the
attempt that runs a stage of a cell, its host and its progress. The newest attempt owns the stage.
An attempt that finds another one in the file exits at once: its machine was considered lost and the
task was restarted. RUN/.tasks/stop requests all tasks to stop.
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType

import torch

from lico_bench.bench.cell import (
    Cell,
    RunContext,
    RunPlan,
    SplitCache,
    score_cell,
    scoring_cell_of,
    train_cell,
)
from lico_bench.bench.interruption import preemptible
from lico_bench.bench.plan import CODE_VERSION
from lico_bench.bench.reporter import NoOpReporter, attempt, record_blocked
from lico_bench.errors import EXIT_PREEMPTED, ClusterError, Preempted
from lico_bench.runtime import versions
from lico_bench.store import RunFolder
from lico_bench.store.files import naming_full_disk

MARKER = "marker"
REMEDY = (
    "every node needs the same lico-bench[ray], and the run folder and data root at the same "
    "paths as here"
)
IGNORED_VERSIONS = ("python", "platform")  # may differ; Ray itself checks the Python version
FOLDER = ".tasks"
REPORT_EVERY_S = 0.5
MISSES = 4  # consecutive checks without a status file before a task considers its run ended


@dataclass(frozen=True)
class TaskContext:
    """Settings shared by all tasks of a run.

    Attributes:
        run: absolute path of the run folder on shared storage.
        device: device of each task.
        threads: threads of each task; the last bits of sums depend on it.
        environment: LICO_BENCH_* variables of the driver, which locate data and encoders.
        token: content of the board's marker file; identifies the run folder.
        software: `software_versions()` of the driver.
    """

    run: Path
    device: str
    threads: int
    environment: Mapping[str, str]
    token: str
    software: str

    @property
    def board(self) -> StatusBoard:
        """Status board of the run."""
        return StatusBoard(self.run / FOLDER)


def software_versions() -> str:
    """Return the versions of all software that affects results, as one line."""
    relevant = {name: text for name, text in versions().items() if name not in IGNORED_VERSIONS}
    return ", ".join(f"{name} {text}" for name, text in {**relevant, "code": CODE_VERSION}.items())


def find_mismatch(task_context: TaskContext) -> str | None:
    """Return why this machine cannot run tasks of `task_context`; None if it can."""
    try:
        if (task_context.board.path / MARKER).read_text(encoding="utf-8") != task_context.token:
            return f"another folder is at {task_context.run} there"
    except OSError as error:
        return f"the run folder cannot be read there ({error})"
    software = software_versions()
    if software != task_context.software:
        node, driver = set(software.split(", ")), set(task_context.software.split(", "))
        return f"it has {_join_names(node - driver)}; the driver has {_join_names(driver - node)}"
    return None


def _join_names(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing else"


@dataclass(frozen=True)
class Outcome:
    """Result of a stage of a cell.

    Attributes:
        is_done: whether the stage is stored; a failure is recorded in the cell's folder.
        messages: cell titles and messages for the reporter.
    """

    is_done: bool
    messages: tuple[tuple[str, str], ...] = ()


def train_on_node(plan: RunPlan, key: str, task_context: TaskContext) -> Outcome:
    """Train the cell `key`, resuming from its checkpoint.

    Raises:
        DiskFullError: like every error that must stop the run.
        ClusterError: if this machine has another run folder or other software versions.
    """

    def work(cell: Cell, context: RunContext) -> bool:
        return attempt(
            cell, context.run, "training", context.reporter, partial(train_cell, cell, context)
        )

    return _on_node(plan, key, task_context, "training", work)


def score_on_node(
    plan: RunPlan, key: str, task_context: TaskContext, trained: Outcome, scorer_trained: Outcome
) -> Outcome:
    """Score the cell `key` after the trainings of its network and of its scorer.

    Raises:
        DiskFullError: like every error that must stop the run.
        ClusterError: if this machine has another run folder or other software versions.
    """

    def work(cell: Cell, context: RunContext) -> bool:
        scorer = scoring_cell_of(plan, cell)
        if scorer is not None and not scorer_trained.is_done:
            record_blocked(cell, scorer, context.run, context.reporter)
            return False
        return attempt(
            cell, context.run, "scoring", context.reporter, partial(score_cell, cell, context)
        )

    if not trained.is_done:
        return Outcome(is_done=False)  # the training has recorded and reported the failure
    return _on_node(plan, key, task_context, "scoring", work)


def _on_node(
    plan: RunPlan,
    key: str,
    task_context: TaskContext,
    stage: str,
    work: Callable[[Cell, RunContext], bool],
) -> Outcome:
    """Run `work` for a cell in this process; Ray runs one task at a time in it."""
    os.environ.update(task_context.environment)
    torch.set_num_threads(task_context.threads)
    cell, run = next(c for c in plan.cells if c.key == key), RunFolder(task_context.run)
    problem = find_mismatch(task_context)  # for nodes added after `inspect_nodes`
    if problem is not None:
        raise ClusterError(f"node {socket.gethostname()}: {problem}; {REMEDY}")
    if task_context.board.is_stopping:
        return Outcome(is_done=False)
    try:
        with (
            preemptible(),
            StatusReporter(task_context.board, new_attempt(key, stage)) as status_reporter,
        ):
            is_done = work(
                cell,
                RunContext(plan, run, _splits(plan.root), task_context.device, status_reporter),
            )
    except Preempted:
        if not task_context.board.is_stopping:
            os._exit(EXIT_PREEMPTED)  # only this machine is preempted: Ray retries elsewhere
        return Outcome(is_done=False)
    return Outcome(is_done, tuple(status_reporter.messages))


@lru_cache(maxsize=1)
def _splits(root: Path | None) -> SplitCache:
    """Return the split cache of this process, shared by its tasks."""
    return SplitCache(root)


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
