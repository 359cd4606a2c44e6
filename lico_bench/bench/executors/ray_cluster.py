"""Execution on a Ray cluster: the training and the scoring of each cell are separate tasks.

Tasks write to the run folder on shared storage; Ray transfers only their outcome. If a machine is
lost, its tasks run on another machine and resume from the stored state. All tasks use the same
number of threads, so that results are bit-identical on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from lico_bench.bench.cell import Cell, RunPlan, scoring_cell_of
from lico_bench.bench.executors import EXECUTORS, ExecutorOptions, unfinished
from lico_bench.bench.executors.ray_session import (
    choose_task_context,
    connect_ray,
    inspect_nodes,
    one_line,
)
from lico_bench.bench.executors.ray_tasks import (
    FOLDER,
    Outcome,
    StatusBoard,
    TaskContext,
    score_on_node,
    train_on_node,
)
from lico_bench.bench.interruption import defer_preemption, should_stop
from lico_bench.bench.plan import Plan
from lico_bench.bench.reporter import Reporter, record_blocked, record_lost
from lico_bench.errors import ClusterError, InvalidInputError, LicoBenchError
from lico_bench.runtime import data_root
from lico_bench.store import RunFolder

RETRIES = 3  # per task whose machine or process is lost; after that the task is likely the cause
POLL_S = 0.5
STOP_S = 4.0  # for the tasks to store their state, out of the grace period of 8 s
STAGES = {"training": train_on_node, "scoring": score_on_node}


@EXECUTORS.register("ray")
def run_on_ray(
    plan: RunPlan, run: RunFolder, *, options: ExecutorOptions, reporter: Reporter
) -> None:
    """Run the unfinished cells, as many in parallel as the cluster has resources for.

    Raises:
        InvalidInputError: if ray is not installed, or for options that it does not support.
        ClusterError: if the cluster is unreachable, or a node has another run folder.
        Preempted: at a preemption signal, after the tasks have stored their state.
        DiskFullError: if a task raised it; the other tasks are stopped.
    """
    if options.devices > 1 or options.num_nodes > 1:
        raise InvalidInputError(
            "--executor ray trains each model on one device and does not support --devices and "
            "--num-nodes; leave them out, or use --executor local"
        )
    todo = unfinished(plan, run, reporter)
    if not todo:
        return
    board = StatusBoard(run.path.resolve() / FOLDER)
    with connect_ray(options.address) as ray:
        board.open()
        try:
            shared = _with_absolute_root(plan)
            task_context = choose_task_context(ray, board.path.parent, options)
            inspect_nodes(ray, shared, task_context)
            job = _Job(ray, shared, run, reporter, task_context)
            with defer_preemption():  # the tasks are stopped first
                try:
                    job.submit(todo)
                    job.wait_for_tasks()
                finally:
                    job.stop_tasks()
        finally:
            board.close()


@dataclass
class _Job:
    """The tasks of a run.

    Attributes:
        pending: unfinished tasks with their stage and cell.
        trained: by cell key, the training task or the outcome of an earlier training.
        lost: keys of cells whose training was lost after all retries.
        reported: by cell key and stage, the last reported attempt.
    """

    ray: Any
    plan: RunPlan
    run: RunFolder
    reporter: Reporter
    task_context: TaskContext
    pending: dict[Any, tuple[str, Cell]] = field(default_factory=dict)
    trained: dict[str, Any] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    reported: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stages = {name: self.ray.remote(function) for name, function in STAGES.items()}

    def submit(self, todo: list[Cell]) -> None:
        """Submit every missing stage; a scoring depends on the trainings it needs."""
        plan = self.ray.put(self.plan)
        scorers = {cell.key: scoring_cell_of(self.plan, cell) for cell in todo}
        for cell in [*todo, *(s for s in scorers.values() if s is not None)]:
            if cell.key in self.trained:
                continue
            if self.run.cell(cell.key).model.is_file():
                self.trained[cell.key] = Outcome(is_done=True)
            else:
                self.trained[cell.key] = self._submit_task("training", cell, plan)
        for cell in todo:
            needed = [self.trained[c.key] for c in (cell, scorers[cell.key] or cell)]
            self._submit_task("scoring", cell, plan, *needed)

    def wait_for_tasks(self) -> None:
        """Return when every task has ended or a preemption signal came."""
        while self.pending and not should_stop():
            ready, _ = self.ray.wait(list(self.pending), num_returns=1, timeout=POLL_S)
            self._report_progress()
            for task in ready:
                self._collect(task, *self.pending.pop(task))

    def stop_tasks(self) -> None:
        """Request the tasks to store their state and stop; cancel those that take too long."""
        if not self.pending:
            return
        self.task_context.board.request_stop()
        running = {(status.stage, status.cell) for status in self.task_context.board.read_all()}
        for task, (stage, cell) in self.pending.items():
            if (stage, cell.key) not in running:
                self.ray.cancel(task, force=True)
        tasks = list(self.pending)
        _, late = self.ray.wait(tasks, num_returns=len(tasks), timeout=STOP_S)
        for task in late:
            self.ray.cancel(task, force=True)

    def _submit_task(self, stage: str, cell: Cell, plan: Any, *needed: Any) -> Any:
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

    def _collect(self, task: Any, stage: str, cell: Cell) -> None:
        """Report the outcome of a task; a task lost after all retries is a failure of its cell."""
        self._report_stage(stage, cell)
        errors = self.ray.exceptions
        try:
            outcome = self.ray.get(task)
        except errors.RayTaskError as error:
            raise _error_of_task(error, cell) from None
        except errors.RayError as error:
            self._record_loss(stage, cell, f"was lost {RETRIES + 1} times ({one_line(error)})")
            return
        finally:
            self.task_context.board.remove(cell.key, stage)
        for title, message in outcome.messages:
            self.reporter.finish(title, message)

    def _record_loss(self, stage: str, cell: Cell, how: str) -> None:
        scorer = scoring_cell_of(self.plan, cell)
        if stage == "training":
            self.lost.add(cell.key)
        elif cell.key in self.lost:
            return
        elif scorer is not None and scorer.key in self.lost:
            record_blocked(cell, scorer, self.run, self.reporter)
            return
        record_lost(cell, self.run, how, self.reporter)

    def _report_progress(self) -> None:
        """Forward the status of the running tasks to the reporter."""
        cells = {cell.key: cell for _, cell in self.pending.values()}
        for status in self.task_context.board.read_all():
            if status.cell not in cells:
                continue
            cell = cells[status.cell]
            attempt = self.reported.get((cell.key, status.stage), "")
            if attempt not in ("", status.attempt):
                self.reporter.note(
                    f"{cell.title}: the process of its {status.stage} was lost; "
                    f"it resumes from the stored state on {status.host}"
                )
            self._report_stage(status.stage, cell, status.attempt)
            if status.total:
                self.reporter.advance(status.done, status.total, cell=cell.title)

    def _report_stage(self, stage: str, cell: Cell, attempt: str = "") -> None:
        """Report the start of a stage, once."""
        if (cell.key, stage) not in self.reported:
            cost = cell.cost
            work = cost.train_gigaflop if stage == "training" else cost.score_gigaflop
            self.reporter.stage(cell.title, stage, work=work)
        self.reported[cell.key, stage] = attempt


def _with_absolute_root(plan: RunPlan) -> RunPlan:
    """Return the plan with an absolute data root, for processes in other working directories."""
    if not isinstance(plan, Plan):
        return plan
    if plan.root is None and all(cell.recipe.source != "real" for cell in plan.cells):
        return plan
    root = data_root(plan.root)
    return replace(plan, root=None if root is None else root.resolve())


def _error_of_task(error: Any, cell: Cell) -> Exception:
    """Return the error with which a task stopped the run."""
    cause = error.cause
    if isinstance(cause, LicoBenchError | OSError):
        return cause
    return ClusterError(
        f"{cell.title}: its task did not start ({one_line(error)}); "
        "install the same lico-bench[ray] on every node"
    )
