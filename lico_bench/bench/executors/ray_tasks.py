"""Functions that run on the nodes of a cluster: the stages of a cell."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch

from lico_bench.bench.cell import RunContext, SplitCache, score_cell, train_cell
from lico_bench.bench.executors.ray_status import FOLDER, StatusBoard, StatusReporter, new_attempt
from lico_bench.bench.interruption import preemptible
from lico_bench.bench.plan import CODE_VERSION, Cell, RunPlan, scorer_of
from lico_bench.bench.reporter import attempt, record_blocked
from lico_bench.errors import EXIT_PREEMPTED, ClusterError, Preempted
from lico_bench.runtime import versions
from lico_bench.store import RunFolder

MARKER = "marker"
REMEDY = (
    "every node needs the same lico-bench[ray], and the run folder and data root at the same "
    "paths as here"
)
IGNORED_VERSIONS = ("python", "platform")  # may differ; Ray itself checks the Python version


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
        scorer = scorer_of(plan, cell)
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
