"""What runs on the machines of a cluster: the stages of a cell."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch

from lico_bench.bench.cell import RunContext, score_cell, train_cell
from lico_bench.bench.executors.ray_status import FOLDER, StatusBoard, StatusReporter, new_attempt
from lico_bench.bench.failures import attempt, record_blocked
from lico_bench.bench.plan import CODE_VERSION, Plan, PlannedCell
from lico_bench.bench.preemption import preemptible
from lico_bench.bench.split_cache import SplitCache
from lico_bench.errors import EXIT_PREEMPTED, ClusterError, Preempted
from lico_bench.runtime import versions
from lico_bench.store import RunFolder

MARKER = "marker"
REMEDY = (
    "every node needs the same lico-bench[ray], and the run folder and the data root under the "
    "same paths as here"
)
PLACES = ("python", "platform")  # may differ; Ray itself holds the Pythons together


@dataclass(frozen=True)
class TaskContext:
    """Where and with what a task works, the same for all tasks of a run.

    Attributes:
        run: the run folder, an absolute path on storage that every machine sees.
        device: for each task.
        threads: of each task; sums depend on their number in the last bits.
        environment: variables of the driver that say where data and encoders are.
        token: what stands in the board's marker file.
        programs: `identity()` of the driver.
    """

    run: Path
    device: str
    threads: int
    environment: Mapping[str, str]
    token: str
    programs: str

    @property
    def board(self) -> StatusBoard:
        """Where tasks tell what they do."""
        return StatusBoard(self.run / FOLDER)


def identity() -> str:
    """Versions of all that decides a number."""
    found = {name: version for name, version in versions().items() if name not in PLACES}
    return ", ".join(f"{n} {version}" for n, version in {**found, "code": CODE_VERSION}.items())


def what_differs(task_context: TaskContext) -> str | None:
    """What keeps this machine from working at `post`; None if nothing does."""
    try:
        if (task_context.board.path / MARKER).read_text(encoding="utf-8") != task_context.token:
            return f"another folder is at {task_context.run} there"
    except OSError as error:
        return f"the run folder cannot be read there ({error})"
    found = identity()
    if found != task_context.programs:
        theirs, ours = set(found.split(", ")), set(task_context.programs.split(", "))
        return f"it has {_listed(theirs - ours)}, and {_listed(ours - theirs)} is here"
    return None


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing else"


@dataclass(frozen=True)
class Outcome:
    """How a stage of a cell ended.

    Attributes:
        is_done: whether the stage is stored; a failure is recorded in the cell's folder.
        said: messages for whoever watches, by cell.
    """

    is_done: bool
    said: tuple[tuple[str, str], ...] = ()


def train_on_node(plan: Plan, key: str, task_context: TaskContext) -> Outcome:
    """Train the cell called `key`, or go on with its checkpoint.

    Raises:
        DiskFullError: as whatever else must stop the run.
        ClusterError: if this machine sees another run folder or has other programs.
    """

    def work(cell: PlannedCell, place: RunContext) -> bool:
        return attempt(
            cell, place.run, "training", place.reporter, partial(train_cell, cell, place)
        )

    return _on_node(plan, key, task_context, "training", work)


def score_on_node(
    plan: Plan, key: str, task_context: TaskContext, trained: Outcome, scorer_trained: Outcome
) -> Outcome:
    """Score the cell called `key`, whose network and whose scorer's were to be trained before.

    Raises:
        DiskFullError: as whatever else must stop the run.
        ClusterError: if this machine sees another run folder or has other programs.
    """

    def work(cell: PlannedCell, place: RunContext) -> bool:
        scorer = plan.scorer_of(cell)
        if scorer is not None and not scorer_trained.is_done:
            record_blocked(cell, scorer, place.run, place.reporter)
            return False
        return attempt(cell, place.run, "scoring", place.reporter, partial(score_cell, cell, place))

    if not trained.is_done:
        return Outcome(is_done=False)  # recorded and told by the training
    return _on_node(plan, key, task_context, "scoring", work)


def _on_node(
    plan: Plan,
    key: str,
    task_context: TaskContext,
    stage: str,
    work: Callable[[PlannedCell, RunContext], bool],
) -> Outcome:
    """What `work` makes of the cell in this process, which Ray lends to one task at a time."""
    os.environ.update(task_context.environment)
    torch.set_num_threads(task_context.threads)
    cell, run = next(c for c in plan.cells if c.key == key), RunFolder(task_context.run)
    problem = what_differs(task_context)  # a machine that has come since the others were inspected
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
            os._exit(EXIT_PREEMPTED)  # this machine alone is asked to leave: Ray tries elsewhere
        return Outcome(is_done=False)
    return Outcome(is_done, tuple(status_reporter.said))


@lru_cache(maxsize=1)
def _splits(root: Path | None) -> SplitCache:
    """Kept for the next task in this process."""
    return SplitCache(root)
