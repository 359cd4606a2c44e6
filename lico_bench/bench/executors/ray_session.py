"""Connect to a Ray cluster and disconnect, without Ray's output or long waits for an address."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lico_bench.data.image_source import num_workers as num_cores
from lico_bench.errors import ClusterError, InvalidInputError, Preempted

ANSWER_S = 5.0  # for a machine to accept a connection and answer
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
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S) as line:
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
