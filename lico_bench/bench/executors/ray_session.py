"""Joining a Ray cluster and leaving it: quietly, and without waiting for an address in vain."""

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

ANSWER_S = 5.0  # for a machine to take a connection and to greet
STORE_BYTES = 100_000_000  # of shared memory; results travel by the run folder, not by Ray
# Read when ray is imported. Ray would send usage statistics, would start the workers of a process
# that runs under `uv run` by another `uv run`, and would warn on the terminal.
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# HTTP/2, which Ray speaks: a client's greeting with empty settings, and where a frame's kind is.
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
FRAME_BYTES, KIND_AT, SETTINGS_KIND = 9, 3, 4


@contextmanager
def joined(address: str | None) -> Iterator[Any]:
    """The module ray, connected inside the block.

    Args:
        address: `host:port` of the cluster's head; `auto` for the one that this machine belongs to;
            `local` for one of this machine alone that ends with the block. RAY_ADDRESS if None,
            `local` without that. A process that is connected already stays so.

    Raises:
        InvalidInputError: if ray is not installed, or for an address of another form.
        ClusterError: if no cluster answers there, or it does not take this machine.
        Preempted: if a preemption notice came meanwhile.
    """
    ray = _import_ray()
    if ray.is_initialized():
        with _own_interruptions():
            yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address == "auto":
        address = _cluster_of_this_machine(ray)
    if address != "local":
        check_answers(address)
    with _own_interruptions():
        _connect(ray, address)
        try:
            yield ray
        finally:
            ray.shutdown()


def check_answers(address: str) -> None:
    """Raise unless a machine at `host:port` speaks as a cluster's head does.

    Ray itself tries for two minutes and then ends the process.

    Raises:
        InvalidInputError: for another form of address.
        ClusterError: if nothing answers, or something else.
    """
    host, colon, port = address.rpartition(":")
    if "//" in address or not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise InvalidInputError(
            f"--address: expected host:port of the cluster's head, auto or local, got '{address}'; "
            "run on a machine of the cluster, with the address that `ray start --head` printed"
        )
    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return  # the greeting is another one there
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S) as line:
            line.sendall(GREETING)
            answer = line.recv(FRAME_BYTES)
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head`, "
            "or correct --address or RAY_ADDRESS"
        ) from error
    if len(answer) <= KIND_AT or answer[KIND_AT] != SETTINGS_KIND:
        raise ClusterError(
            f"what answers at {address} is no Ray cluster; name the address that "
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
            "where there is one for this Python, or take --executor local --workers N"
        ) from error
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


@contextmanager
def _own_interruptions() -> Iterator[None]:
    """Let what a signal's handler raises come out of the block as it is.

    Where the signal comes while Ray waits, Ray makes a SystemError of it.
    """
    try:
        yield
    except SystemError as error:
        if error.__cause__ is None or isinstance(error.__cause__, Exception):
            raise
        raise error.__cause__ from None


def _cluster_of_this_machine(ray: Any) -> str:
    """What `auto` stands for; the note that Ray keeps of it may be of a cluster that is gone."""
    try:
        return str(ray._private.services.canonicalize_bootstrap_address("auto"))
    except (ConnectionError, ValueError) as error:
        raise ClusterError(
            "--address auto: this machine belongs to no Ray cluster; make it a node with "
            "`ray start --address=HEAD:PORT`, or give the address of the cluster's head"
        ) from error


def _connect(ray: Any, address: str) -> None:
    own: dict[str, Any] = {}
    if address == "local":
        own = {
            "num_cpus": num_cores(),
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
            # A task that was killed for memory would be tried again for ever.
            "_system_config": {"task_oom_retries": 2},
        }
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
            **own,
        )
    except SystemExit as stop:
        if stop.code == signal.SIGTERM:  # Ray's own way to take a notice
            raise Preempted from None
        raise
    except SystemError:
        raise  # see _own_interruptions
    except Exception as error:  # connection, token, version, a slow start: of many types
        ray.shutdown()
        reason = str(error).strip().partition("\n")[0]
        raise ClusterError(_could_not_join(address, reason)) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray puts its own handler there


def _could_not_join(address: str, reason: str) -> str:
    if address == "local":
        return (
            f"Ray could not be started on this machine ({reason}); repeat the command when the "
            "machine is less busy, or take --executor local --workers N"
        )
    return (
        f"the Ray cluster '{address}' could not be joined ({reason}); run on a machine that "
        "`ray start` made one of its nodes, with the same versions of Python and ray"
    )
