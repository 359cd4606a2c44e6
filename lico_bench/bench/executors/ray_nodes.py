"""Check before the first task that the nodes of a cluster can run the cells."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Any

from lico_bench.bench.executors import ExecutorOptions
from lico_bench.bench.executors.processes import threads_per_worker
from lico_bench.bench.executors.ray_tasks import (
    MARKER,
    REMEDY,
    TaskContext,
    find_mismatch,
    software_versions,
)
from lico_bench.bench.plan import Plan, RunPlan, describe_local_data
from lico_bench.errors import ClusterError, LicoBenchError

ANSWER_S = 300.0  # for a node to start Python and check its data


def choose_task_context(ray: Any, run: Path, options: ExecutorOptions) -> TaskContext:
    """Choose device and threads of the tasks; `auto` means a GPU if the cluster has one."""
    wants_gpu = options.device.startswith("cuda") or (
        options.device == "auto" and ray.cluster_resources().get("GPU", 0) >= 1
    )
    device = "cuda" if wants_gpu else "cpu" if options.device == "auto" else options.device
    environment = {k: v for k, v in os.environ.items() if k.startswith("LICO_BENCH_")}
    threads = threads_per_worker(options.workers)
    return TaskContext(
        run, device, threads, environment, token=uuid.uuid4().hex, software=software_versions()
    )


def inspect_nodes(ray: Any, plan: RunPlan, task_context: TaskContext) -> None:
    """Run `check_node` on every node that may get a task.

    Raises:
        ClusterError: if no node has the CPUs or GPU of a task, or if a node cannot access the run
            folder, has other software versions or other images.
    """
    nodes = [
        node
        for node in ray.nodes()
        if node["Alive"] and _has_resources(node["Resources"], task_context)
    ]
    if not nodes:
        requested = f"{task_context.threads} CPUs" + (
            " and a GPU" if task_context.device == "cuda" else ""
        )
        raise ClusterError(
            f"no machine of the cluster has the {requested} that a task needs; "
            "add one, or set OMP_NUM_THREADS to fewer threads (--device cpu for no GPU)"
        )
    (task_context.board.path / MARKER).write_text(task_context.token, encoding="utf-8")
    shared, checks = ray.put(plan), {}
    for node in nodes:
        file_name = f"seen-{node['NodeID']}"
        task = _check_on_node(ray, node["NodeID"]).remote(shared, task_context, file_name)
        checks[task] = (node, file_name)
    _, late = ray.wait(list(checks), num_returns=len(checks), timeout=ANSWER_S)
    for task, (node, file_name) in checks.items():
        problem = f"no answer within {ANSWER_S:.0f} s" if task in late else _result(ray, task)
        if problem is None and not (task_context.board.path / file_name).is_file():
            problem = f"files that it writes to {task_context.board.path} are not visible here"
        if problem is not None and _is_alive(ray, node["NodeID"]):
            raise ClusterError(f"node {node['NodeManagerAddress']}: {problem}; {REMEDY}")


def check_node(plan: RunPlan, task_context: TaskContext, file_name: str) -> str | None:
    """Return why this machine cannot run the cells of `plan`; None if it can.

    Args:
        file_name: file to write into the board's folder; the driver checks that it sees it.
    """
    os.environ.update(task_context.environment)
    problem = find_mismatch(task_context)
    if problem is not None:
        return problem
    try:
        (task_context.board.path / file_name).touch()
    except OSError as error:
        return f"the run folder cannot be written there ({error})"
    return _problem_with_data(plan)


def one_line(error: Exception) -> str:
    """Return the message of a Ray error in one line; for a task error the traceback's last line."""
    message = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[0] if getattr(error, "cause", None) is None else lines[-1]


def _has_resources(resources: dict[str, float], task_context: TaskContext) -> bool:
    has_gpu = task_context.device != "cuda" or resources.get("GPU", 0) >= 1
    return has_gpu and resources.get("CPU", 0) >= task_context.threads


def _is_alive(ray: Any, node: str) -> bool:
    return any(entry["Alive"] for entry in ray.nodes() if entry["NodeID"] == node)


def _check_on_node(ray: Any, node: str) -> Any:
    strategies = ray.util.scheduling_strategies
    strategy = strategies.NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(check_node).options(num_cpus=0, scheduling_strategy=strategy)


def _result(ray: Any, task: Any) -> str | None:
    """Return the problem that a check found; None if there is none."""
    try:
        problem: str | None = ray.get(task)
    except ray.exceptions.RayError as error:
        return f"lico-bench did not start there ({one_line(error)})"
    return problem


def _problem_with_data(plan: RunPlan) -> str | None:
    if not isinstance(plan, Plan):
        return None
    for recipe in {cell.recipe.dataset: cell.recipe for cell in plan.cells}.values():
        if recipe.source != "real":
            continue  # generated identically by the same software version
        try:
            facts = describe_local_data(recipe, plan.root)
        except LicoBenchError as error:
            return str(error)
        if facts.fingerprint != plan.datasets[recipe.dataset].fingerprint:
            return f"{plan.root} has other images of {recipe.dataset} there"
    return None
