"""A preemption notice (SIGTERM): store what is under way and leave, within ten seconds.

While a training runs the notice waits for the update to end, so that the state can be stored;
anywhere else the work is broken off at once, since what is finished is stored already. A watchdog
leaves for the process if even that takes too long.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from lico_bench.errors import EXIT_PREEMPTED, Preempted

__all__ = ["EXIT_PREEMPTED", "GRACE_S", "Preempted", "deferred", "preemptible", "should_stop"]

GRACE_S = 8.0  # of the ten that are promised; the rest is for the process to end
GIVING_UP = (
    "\nlico-bench: preempted, and the work did not stop within "
    f"{GRACE_S:.0f} s; the last checkpoint stays. Repeat the same command to go on from there.\n"
)


@dataclass
class _NoticeState:
    """Whether a notice came, and in how many blocks it has to wait. Signals are the process's."""

    is_given: bool = False
    waits: int = 0


_notice = _NoticeState()


def should_stop() -> bool:
    """Whether a preemption notice came."""
    return _notice.is_given


@contextmanager
def preemptible() -> Iterator[None]:
    """Inside the block SIGTERM is a preemption notice.

    Outside of the main thread, which alone hears signals, and inside another such block it does
    nothing.

    Raises:
        Preempted: out of the block, when the work has stopped.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    if not is_main or before is _hear:
        yield
        return
    _notice.is_given = False
    signal.signal(signal.SIGTERM, _hear)
    try:
        with _watchdog():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _notice.is_given = False


@contextmanager
def deferred() -> Iterator[None]:
    """Inside the block a notice only makes `should_stop` true.

    Raises:
        Preempted: at the end of a block that ends well although a notice came.
    """
    _notice.waits += 1
    try:
        yield
    finally:
        _notice.waits -= 1
    if _notice.is_given and not _notice.waits:
        raise Preempted


def _hear(_signum: int, _frame: FrameType | None) -> None:
    is_first, _notice.is_given = not _notice.is_given, True
    if is_first and not _notice.waits:
        raise Preempted


@contextmanager
def _watchdog() -> Iterator[None]:
    """End the process some seconds after a notice, unless the block ends before.

    The handler above waits for the interpreter, which a long operation keeps; what is written to
    the wake-up descriptor comes from the kernel's own handler at once.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    is_over = threading.Event()
    watching = threading.Thread(target=_watch, args=(reader, is_over), daemon=True)
    watching.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        is_over.set()
        writer.close()
        watching.join()
        reader.close()


def _watch(reader: socket.socket, is_over: threading.Event) -> None:
    while heard := reader.recv(1):
        if heard[0] == signal.SIGTERM and not is_over.wait(GRACE_S):
            os.write(2, GIVING_UP.encode())
            os._exit(EXIT_PREEMPTED)
