"""On a Ray cluster: the training and the scoring of a cell are a task each, on whatever machine.

What a task makes lies in the run folder, on storage that every machine sees; only "it is done"
travels through Ray. A machine that is lost loses no row: its tasks are given to another machine and
go on from what is stored. Threads per task are the same everywhere, so the bits are as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from lico_bench.bench.executors import EXECUTORS, ExecutorOptions, unfinished
from lico_bench.bench.executors.ray_nodes import choose_task_context, inspect_nodes, one_line
from lico_bench.bench.executors.ray_session import joined
from lico_bench.bench.executors.ray_status import FOLDER, StatusBoard
from lico_bench.bench.executors.ray_tasks import Outcome, TaskContext, score_on_node, train_on_node
from lico_bench.bench.failures import record_blocked, record_lost
from lico_bench.bench.plan import Plan, PlannedCell
from lico_bench.bench.preemption import deferred, should_stop
from lico_bench.bench.reporter import Reporter
from lico_bench.errors import ClusterError, InvalidInputError, LicoBenchError
from lico_bench.runtime import data_root
from lico_bench.store import RunFolder

RETRIES = 3  # of a task whose machine or process is lost; what is lost so often is at fault itself
LOOK_EVERY_S = 0.5
STOP_S = 4.0  # for the tasks to store what they have, out of the eight that a notice leaves
STAGES = {"training": train_on_node, "scoring": score_on_node}


@EXECUTORS.register("ray")
def run_on_ray(plan: Plan, run: RunFolder, *, options: ExecutorOptions, reporter: Reporter) -> None:
    """Run what is missing, as many cells at a time as the cluster has room for.

    Raises:
        InvalidInputError: if ray is not installed, or options that it has no use for are set.
        ClusterError: if the cluster cannot be joined, or a machine sees another run folder.
        Preempted: at a notice, when the tasks have stored what is under way.
        DiskFullError: from a task that met it; the others are stopped.
    """
    if options.devices > 1 or options.num_nodes > 1:
        raise InvalidInputError(
            "--executor ray: a task trains on one device, and --devices and --num-nodes share one "
            "training among several; leave them out, or take --executor local"
        )
    todo = unfinished(plan, run, reporter)
    if not todo:
        return
    board = StatusBoard(run.path.resolve() / FOLDER)
    with joined(options.address) as ray:
        board.open()
        try:
            shared = _with_absolute_root(plan)
            task_context = choose_task_context(ray, board.path.parent, options)
            inspect_nodes(ray, shared, task_context)
            job = _Job(ray, shared, run, reporter, task_context)
            with deferred():  # a notice goes to the tasks first
                try:
                    job.submit(todo)
                    job.work_off()
                finally:
                    job.dismiss()
        finally:
            board.close()


@dataclass
class _Job:
    """The tasks of a run.

    Attributes:
        pending: tasks that have not ended, with the stage and the cell of each.
        trained: by cell, what a scoring waits for: a task, or an outcome of before.
        lost: cells whose training was lost once too often.
        shown: by cell and stage, the attempt that the reporter heard of last.
    """

    ray: Any
    plan: Plan
    run: RunFolder
    reporter: Reporter
    task_context: TaskContext
    pending: dict[Any, tuple[str, PlannedCell]] = field(default_factory=dict)
    trained: dict[str, Any] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    shown: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stages = {name: self.ray.remote(function) for name, function in STAGES.items()}

    def submit(self, todo: list[PlannedCell]) -> None:
        """Ask for every stage that is missing; a scoring waits for the trainings it needs."""
        plan = self.ray.put(self.plan)
        scorers = {cell.key: self.plan.scorer_of(cell) for cell in todo}
        for cell in [*todo, *(s for s in scorers.values() if s is not None)]:
            if cell.key in self.trained:
                continue
            if self.run.cell(cell.key).model.is_file():
                self.trained[cell.key] = Outcome(is_done=True)
            else:
                self.trained[cell.key] = self._ask("training", cell, plan)
        for cell in todo:
            needed = [self.trained[c.key] for c in (cell, scorers[cell.key] or cell)]
            self._ask("scoring", cell, plan, *needed)

    def work_off(self) -> None:
        """Return when every task has ended, or when a notice came."""
        while self.pending and not should_stop():
            ready, _ = self.ray.wait(list(self.pending), num_returns=1, timeout=LOOK_EVERY_S)
            self._show()
            for task in ready:
                self._collect(task, *self.pending.pop(task))

    def dismiss(self) -> None:
        """Ask the tasks to store what they do and to end; who stays too long is killed."""
        if not self.pending:
            return
        self.task_context.board.ask_to_stop()
        begun = {
            (message.stage, message.cell) for message in self.task_context.board.all_messages()
        }
        for task, (stage, cell) in self.pending.items():
            if (stage, cell.key) not in begun:
                self.ray.cancel(task, force=True)
        tasks = list(self.pending)
        _, late = self.ray.wait(tasks, num_returns=len(tasks), timeout=STOP_S)
        for task in late:
            self.ray.cancel(task, force=True)

    def _ask(self, stage: str, cell: PlannedCell, plan: Any, *needed: Any) -> Any:
        task = (
            self.stages[stage]
            .options(
                name=f"{cell.title}: {stage}",
                num_cpus=self.task_context.threads,
                num_gpus=1 if self.task_context.device == "cuda" else 0,
                max_retries=RETRIES,
                retry_exceptions=False,
            )
            .remote(plan, cell.key, self.task_context, *needed)
        )
        self.pending[task] = (stage, cell)
        return task

    def _collect(self, task: Any, stage: str, cell: PlannedCell) -> None:
        """Tell how a task ended; one that Ray has given up on is a failure of its cell."""
        self._enter(stage, cell)
        errors = self.ray.exceptions
        try:
            outcome = self.ray.get(task)
        except errors.RayTaskError as error:
            raise _as_ours(error, cell) from None
        except errors.RayError as error:
            self._record_loss(stage, cell, f"was lost {RETRIES + 1} times ({one_line(error)})")
            return
        finally:
            self.task_context.board.take_down(cell.key, stage)
        for title, message in outcome.said:
            self.reporter.finish(title, message)

    def _record_loss(self, stage: str, cell: PlannedCell, how: str) -> None:
        scorer = self.plan.scorer_of(cell)
        if stage == "training":
            self.lost.add(cell.key)
        elif cell.key in self.lost:
            return
        elif scorer is not None and scorer.key in self.lost:
            record_blocked(cell, scorer, self.run, self.reporter)
            return
        record_lost(cell, self.run, how, self.reporter)

    def _show(self) -> None:
        """Pass on what the tasks have told since the last look."""
        cells = {cell.key: cell for _, cell in self.pending.values()}
        for message in self.task_context.board.all_messages():
            if message.cell not in cells:
                continue
            cell = cells[message.cell]
            attempt = self.shown.get((cell.key, message.stage), "")
            if attempt not in ("", message.attempt):
                self.reporter.note(
                    f"{cell.title}: the process at its {message.stage} was lost; "
                    f"it goes on from what is stored, on {message.host}"
                )
            self._enter(message.stage, cell, message.attempt)
            if message.total:
                self.reporter.advance(message.done, message.total, cell=cell.title)

    def _enter(self, stage: str, cell: PlannedCell, attempt: str = "") -> None:
        """Tell that a stage has begun, once."""
        if (cell.key, stage) not in self.shown:
            work = cell.work
            share = work.train_gigaflop if stage == "training" else work.score_gigaflop
            self.reporter.stage(cell.title, stage, work=share)
        self.shown[cell.key, stage] = attempt


def _with_absolute_root(plan: Plan) -> Plan:
    """The plan as a process in another folder reads it."""
    if plan.root is None and all(cell.recipe.source != "real" for cell in plan.cells):
        return plan
    root = data_root(plan.root)
    return replace(plan, root=None if root is None else root.resolve())


def _as_ours(error: Any, cell: PlannedCell) -> Exception:
    """The error that a task raised to stop the run."""
    cause = error.cause
    if isinstance(cause, LicoBenchError | OSError):
        return cause
    return ClusterError(
        f"{cell.title}: its task did not start ({one_line(error)}); "
        "every node needs the same lico-bench[ray]"
    )
