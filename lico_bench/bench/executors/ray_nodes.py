"""Whether the machines of a cluster can run the cells: asked once, before the first task."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Any

from lico_bench.bench.executors import ExecutorOptions
from lico_bench.bench.executors.processes import threads_per_worker
from lico_bench.bench.executors.ray_tasks import MARKER, REMEDY, TaskContext, identity, what_differs
from lico_bench.bench.plan import Plan, facts_found
from lico_bench.errors import ClusterError, LicoBenchError

ANSWER_S = 300.0  # for a machine to start Python there and to look at its data


def choose_task_context(ray: Any, run: Path, options: ExecutorOptions) -> TaskContext:
    """Device and threads of the tasks; a GPU each where the cluster has any and none is refused."""
    wants_gpu = options.device.startswith("cuda") or (
        options.device == "auto" and ray.cluster_resources().get("GPU", 0) >= 1
    )
    device = "cuda" if wants_gpu else "cpu" if options.device == "auto" else options.device
    environment = {k: v for k, v in os.environ.items() if k.startswith("LICO_BENCH_")}
    threads = threads_per_worker(options.workers)
    return TaskContext(
        run, device, threads, environment, token=uuid.uuid4().hex, programs=identity()
    )


def inspect_nodes(ray: Any, plan: Plan, task_context: TaskContext) -> None:
    """Let every machine that may get a task look around.

    Raises:
        ClusterError: if none has the CPUs or GPU of a task, or one does not see the run folder, has
            other versions of what decides a number, or other images.
    """
    nodes = [
        node
        for node in ray.nodes()
        if node["Alive"] and _has_space(node["Resources"], task_context)
    ]
    if not nodes:
        requested = f"{task_context.threads} CPUs" + (
            " and a GPU" if task_context.device == "cuda" else ""
        )
        raise ClusterError(
            f"no machine of the cluster has the {requested} that a task takes; "
            "add one, or set OMP_NUM_THREADS to fewer threads (--device cpu for no GPU)"
        )
    (task_context.board.path / MARKER).write_text(task_context.token, encoding="utf-8")
    shared, looks = ray.put(plan), {}
    for node in nodes:
        mark = f"seen-{node['NodeID']}"
        looks[_at_node(ray, node["NodeID"]).remote(shared, task_context, mark)] = (node, mark)
    _, silent = ray.wait(list(looks), num_returns=len(looks), timeout=ANSWER_S)
    for task, (node, mark) in looks.items():
        problem = "no answer" if task in silent else _answer(ray, task)
        if problem is None and not (task_context.board.path / mark).is_file():
            problem = f"what it writes to {task_context.board.path} does not come here"
        if problem is not None and _is_alive(ray, node["NodeID"]):
            raise ClusterError(f"node {node['NodeManagerAddress']}: {problem}; {REMEDY}")


def look_around(plan: Plan, task_context: TaskContext, mark: str) -> str | None:
    """What keeps the machine that this runs on from running the cells of `plan`; None if nothing.

    Args:
        mark: name of the file that is to be written into the board, for the driver to find.
    """
    os.environ.update(task_context.environment)
    problem = what_differs(task_context)
    if problem is not None:
        return problem
    try:
        (task_context.board.path / mark).touch()
    except OSError as error:
        return f"the run folder cannot be written there ({error})"
    return _problem_with_data(plan)


def one_line(error: Exception) -> str:
    """What an error of Ray says, in one line: of a task's the end of the traceback."""
    message = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[0] if getattr(error, "cause", None) is None else lines[-1]


def _has_space(resources: dict[str, float], task_context: TaskContext) -> bool:
    has_gpu = task_context.device != "cuda" or resources.get("GPU", 0) >= 1
    return has_gpu and resources.get("CPU", 0) >= task_context.threads


def _is_alive(ray: Any, node: str) -> bool:
    return any(found["Alive"] for found in ray.nodes() if found["NodeID"] == node)


def _at_node(ray: Any, node: str) -> Any:
    strategies = ray.util.scheduling_strategies
    where = strategies.NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(look_around).options(num_cpus=0, scheduling_strategy=where)


def _answer(ray: Any, task: Any) -> str | None:
    """What is wrong with the machine that was asked."""
    try:
        problem: str | None = ray.get(task)
    except ray.exceptions.RayError as error:
        return f"lico-bench did not start there ({one_line(error)})"
    return problem


def _problem_with_data(plan: Plan) -> str | None:
    for recipe in {cell.recipe.dataset: cell.recipe for cell in plan.cells}.values():
        if recipe.source != "real":
            continue  # drawn by the same version of the same program
        try:
            facts = facts_found(recipe, plan.root)
        except LicoBenchError as error:
            return str(error)
        if facts.fingerprint != plan.datasets[recipe.dataset].fingerprint:
            return f"other images of {recipe.dataset} are in {plan.root} there"
    return None
