"""Connect to a Ray cluster, check that its nodes can run the cells, and disconnect.

Ray's output and its long waits for an address are suppressed.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lico_bench.bench.cell import RunPlan
from lico_bench.bench.executors import ExecutorOptions
from lico_bench.bench.executors.local import threads_per_worker
from lico_bench.bench.executors.ray_tasks import (
    MARKER,
    REMEDY,
    TaskContext,
    find_mismatch,
    software_versions,
)
from lico_bench.bench.plan import Plan, describe_local_data
from lico_bench.data.image_files import num_workers as num_cores
from lico_bench.errors import ClusterError, InvalidInputError, LicoBenchError, Preempted

CONNECT_S = 5.0  # for a machine to accept a connection and answer
CHECK_S = 300.0  # for a node to start Python and check its data
STORE_BYTES = 100_000_000  # of shared memory; results go through the run folder, not through Ray
# Ray reads these when imported. They disable usage statistics, starting workers through `uv run`,
# and a warning on the terminal.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Ray uses HTTP/2: the client preface with an empty SETTINGS frame, and the offset of the type
# field in a frame.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
FRAME_BYTES, TYPE_OFFSET, SETTINGS_TYPE = 9, 3, 4


@contextmanager
def connect_ray(address: str | None) -> Iterator[Any]:
    """Connect to a Ray cluster and yield the module `ray`; disconnect after the block.

    A process that is connected already stays connected.

    Args:
        address: `host:port` of the cluster's head; `auto` for the cluster of this machine;
            `local` for a temporary cluster on this machine. None uses RAY_ADDRESS, else `local`.

    Raises:
        InvalidInputError: if ray is not installed, or for a malformed address.
        ClusterError: if no cluster answers, or the connection fails.
        Preempted: if a preemption signal came during the connection.
    """
    ray = _import_ray()
    if ray.is_initialized():
        with _restored_interruptions():
            yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address == "auto":
        address = _cluster_of_this_machine(ray)
    if address != "local":
        check_answers(address)
    with _restored_interruptions():
        _connect(ray, address)
        try:
            yield ray
        finally:
            ray.shutdown()


def check_answers(address: str) -> None:
    """Check that a cluster head answers at `host:port`.

    Ray itself would retry for two minutes and then end the process.

    Raises:
        InvalidInputError: for a malformed address.
        ClusterError: if no server answers, or it is not a Ray cluster.
    """
    host, colon, port = address.rpartition(":")
    if "//" in address or not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise InvalidInputError(
            f"--address: expected host:port of the cluster's head, auto or local, got '{address}'; "
            "run on a machine of the cluster, with the address that `ray start --head` printed"
        )
    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return  # the preface differs with TLS
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S) as line:
            line.sendall(PREFACE)
            answer = line.recv(FRAME_BYTES)
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head`, "
            "or correct --address or RAY_ADDRESS"
        ) from error
    if len(answer) <= TYPE_OFFSET or answer[TYPE_OFFSET] != SETTINGS_TYPE:
        raise ClusterError(
            f"the server at {address} is no Ray cluster; pass the address that "
            "`ray start --head` printed"
        )


def _import_ray() -> Any:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InvalidInputError(
            "--executor ray needs the package ray, which is not installed; "
            "install it with `pip install 'lico-bench[ray]'` (in a checkout `uv sync --extra ray`) "
            "if there is one for this Python, or use --executor local --workers N"
        ) from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


@contextmanager
def _restored_interruptions() -> Iterator[None]:
    """Raise the exception of a signal handler unchanged.

    If the signal comes while Ray waits, Ray replaces the exception by a SystemError.
    """
    try:
        yield
    except SystemError as error:
        if error.__cause__ is None or isinstance(error.__cause__, Exception):
            raise
        raise error.__cause__ from None


def _cluster_of_this_machine(ray: Any) -> str:
    """Resolve the address `auto`; Ray's record of it may name a cluster that has ended."""
    try:
        return str(ray._private.services.canonicalize_bootstrap_address("auto"))
    except (ConnectionError, ValueError) as error:
        raise ClusterError(
            "--address auto: this machine belongs to no Ray cluster; make it a node with "
            "`ray start --address=HEAD:PORT`, or give the address of the cluster's head"
        ) from error


def _connect(ray: Any, address: str) -> None:
    local_options: dict[str, Any] = {}
    if address == "local":
        local_options = {
            "num_cpus": num_cores(),
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
            # By default Ray retries a task killed for memory forever.
            "_system_config": {"task_oom_retries": 2},
        }
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            **local_options,
        )
    except SystemExit as stop:
        if stop.code == signal.SIGTERM:  # Ray converts SIGTERM to SystemExit
            raise Preempted from None
        raise
    except SystemError:
        raise  # see _restored_interruptions
    except Exception as error:  # connection, token, version or slow start; Ray raises many types
        ray.shutdown()
        reason = str(error).strip().partition("\n")[0]
        raise ClusterError(_connection_message(address, reason)) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray installs its own handler


def _connection_message(address: str, reason: str) -> str:
    if address == "local":
        return (
            f"Ray could not be started on this machine ({reason}); repeat the command when the "
            "machine is less busy, or use --executor local --workers N"
        )
    return (
        f"the Ray cluster '{address}' could not be joined ({reason}); run on a machine that "
        "`ray start` added to the cluster, with the same versions of Python and ray"
    )


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
    _, late = ray.wait(list(checks), num_returns=len(checks), timeout=CHECK_S)
    for task, (node, file_name) in checks.items():
        problem = f"no answer within {CHECK_S:.0f} s" if task in late else _result(ray, task)
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
