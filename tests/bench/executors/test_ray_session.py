"""Connection to a Ray cluster: wrong addresses give a clear message soon."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from lico_bench.bench.executors import ray_session
from lico_bench.bench.executors.ray_session import check_answers, connect_ray
from lico_bench.errors import ClusterError, InvalidInputError

SETTINGS_FRAME = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """The address of something that answers every connection so; that is silent for None."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def serve() -> None:
            line, _ = server.accept()
            kept.append(line)
            line.recv(64)
            if answer is not None:
                line.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join()
            for line in kept:
                line.close()


@pytest.mark.parametrize(
    "address", ["ray://head:10001", "head", "head:", ":6379", "head:x", "h:99999"]
)
def test_an_address_of_another_form_is_refused(address):
    with pytest.raises(InvalidInputError, match="--address: expected host:port"):
        check_answers(address)


def test_what_greets_as_a_cluster_does_is_accepted():
    with answering(SETTINGS_FRAME) as address:
        check_answers(address)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"x"])
def test_another_service_at_the_address_is_told(answer):
    with answering(answer) as address, pytest.raises(ClusterError, match="is no Ray cluster"):
        check_answers(address)


def test_a_silent_or_closed_address_is_told_soon(monkeypatch):
    monkeypatch.setattr(ray_session, "CONNECT_S", 0.2)
    began = time.monotonic()
    with answering(None) as address, pytest.raises(ClusterError, match="no Ray cluster answers"):
        check_answers(address)
    with pytest.raises(ClusterError, match=r"answers at .*ray start --head"):
        check_answers(address)
    with pytest.raises(ClusterError, match="no Ray cluster answers"):
        check_answers("no-such-host.invalid:6379")
    assert time.monotonic() - began < 10


def test_without_ray_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(InvalidInputError, match=r"pip install 'lico-bench\[ray\]'"),
        connect_ray(None),
    ):
        pass


class InterruptionError(BaseException):
    """Stands for what a handler of Ctrl-C or SIGTERM raises."""


def wait_as_ray_does(raised: BaseException) -> None:
    """What Ray makes of an exception that a signal's handler raises while it waits."""
    raise SystemError("returned a result with an exception set") from raised


def test_an_interruption_comes_out_of_ray_as_it_was_raised(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True))
    with pytest.raises(InterruptionError), connect_ray(None):
        wait_as_ray_does(InterruptionError())
    with pytest.raises(SystemError, match="returned a result"), connect_ray(None):
        wait_as_ray_does(ValueError())
