"""Handle the preemption signal (SIGTERM): store the state and exit within ten seconds.

During a training the signal takes effect after the current update, so that the state can be stored.
Elsewhere the work stops at once, since finished results are already stored. A watchdog ends the
process if this takes too long.
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

__all__ = [
    "EXIT_PREEMPTED",
    "GRACE_S",
    "Preempted",
    "defer_preemption",
    "preemptible",
    "should_stop",
]

GRACE_S = 8.0  # of the ten documented; the rest is for the process to exit
TIMEOUT_MESSAGE = (
    "\nlico-bench: preempted, and the work did not stop within "
    f"{GRACE_S:.0f} s; the last checkpoint is kept. Repeat the same command to continue.\n"
)


@dataclass
class _SignalState:
    """Whether a signal came and how many blocks defer it; global, as signal handlers are."""

    is_received: bool = False
    num_deferrals: int = 0


_state = _SignalState()


def should_stop() -> bool:
    """Whether a preemption signal was received."""
    return _state.is_received


@contextmanager
def preemptible() -> Iterator[None]:
    """Treat SIGTERM as a preemption signal inside the block.

    The block has no effect inside another such block and outside the main thread, which alone
    receives signals.

    Raises:
        Preempted: when the work has stopped.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    if not is_main or before is _on_sigterm:
        yield
        return
    _state.is_received = False
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        with _watchdog():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _state.is_received = False


@contextmanager
def defer_preemption() -> Iterator[None]:
    """Inside the block a preemption signal only sets `should_stop`.

    Raises:
        Preempted: at the end of the block, if a signal came and the block raised no error.
    """
    _state.num_deferrals += 1
    try:
        yield
    finally:
        _state.num_deferrals -= 1
    if _state.is_received and not _state.num_deferrals:
        raise Preempted


def _on_sigterm(_signum: int, _frame: FrameType | None) -> None:
    is_first, _state.is_received = not _state.is_received, True
    if is_first and not _state.num_deferrals:
        raise Preempted


@contextmanager
def _watchdog() -> Iterator[None]:
    """End the process `GRACE_S` seconds after a signal unless the block ends before.

    The Python handler above runs only between bytecodes and is delayed by a long operation. The
    wake-up file descriptor is written by the C-level handler at once.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    is_over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(reader, is_over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        is_over.set()
        writer.close()
        watcher.join()
        reader.close()


def _watch(reader: socket.socket, is_over: threading.Event) -> None:
    while received := reader.recv(1):
        if received[0] == signal.SIGTERM and not is_over.wait(GRACE_S):
            os.write(2, TIMEOUT_MESSAGE.encode())
            os._exit(EXIT_PREEMPTED)
