"""Stop an interrupted training and resume it: the preemption signal (SIGTERM) and checkpoints.

The process exits within ten seconds of the signal. During a training the signal takes effect after
the current update, so that the state can be stored. Elsewhere the work stops at once, since
finished results are already stored. A watchdog ends the process if this takes too long.
"""

from __future__ import annotations

import io
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from lico_bench.errors import EXIT_PREEMPTED, BrokenFileError, Preempted
from lico_bench.store import CellFolder

GRACE_S = 8.0  # of the ten documented; the rest is for the process to exit
TIMEOUT_MESSAGE = (
    "\nlico-bench: preempted, and the work did not stop within "
    f"{GRACE_S:.0f} s; the last checkpoint is kept. Repeat the same command to continue.\n"
)
CHECKPOINT_EVERY_S = 600.0  # limits the loss within a long epoch to ten minutes


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


class Checkpoint:
    """Checkpoint file of one training, written after epochs, at intervals and at preemption.

    Args:
        every_s: seconds between two checkpoints, by a monotonic clock.
    """

    def __init__(self, folder: CellFolder, *, every_s: float = CHECKPOINT_EVERY_S) -> None:
        self._folder = folder
        self._every_s = every_s
        self._written = time.monotonic()

    def is_due(self) -> bool:
        """Whether a checkpoint should be written before the next update."""
        return should_stop() or time.monotonic() - self._written > self._every_s

    def write(self, state: dict[str, Any]) -> None:
        """Store the state atomically.

        Raises:
            Preempted: after the state is stored, if a preemption signal came.
        """
        stream = io.BytesIO()
        torch.save(state, stream)
        self._folder.write_checkpoint(stream.getvalue())
        self._written = time.monotonic()
        if should_stop():
            raise Preempted

    def read(self) -> dict[str, Any] | None:
        """Return the stored state; None if there is none.

        Raises:
            BrokenFileError: if the file is damaged.
        """
        path = self._folder.checkpoint
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many types for a truncated file
            raise BrokenFileError(
                f"{path}: damaged checkpoint; delete it to train this cell again"
            ) from error
        return state
