"""The state of an unfinished training on disk: after epochs, by the clock, and at a preemption."""

from __future__ import annotations

import io
import time
from typing import Any

import torch

from lico_bench.bench.preemption import should_stop
from lico_bench.errors import BrokenFileError, Preempted
from lico_bench.store import CellFolder

EVERY_S = 600.0  # so that a long epoch loses ten minutes, not hours


class Checkpoint:
    """One training's checkpoint file, and when it is time to write it.

    Args:
        every_s: seconds between two, by a clock that never jumps.
    """

    def __init__(self, folder: CellFolder, *, every_s: float = EVERY_S) -> None:
        self._folder = folder
        self._every_s = every_s
        self._written = time.monotonic()

    def is_due(self) -> bool:
        """Whether the training should be stored before its next update."""
        return should_stop() or time.monotonic() - self._written > self._every_s

    def write(self, state: dict[str, Any]) -> None:
        """Store the state by atomic rename.

        Raises:
            Preempted: after it is stored, if the machine wants its place back.
        """
        stream = io.BytesIO()
        torch.save(state, stream)
        self._folder.write_checkpoint(stream.getvalue())
        self._written = time.monotonic()
        if should_stop():
            raise Preempted

    def read(self) -> dict[str, Any] | None:
        """The stored state; None if there is none.

        Raises:
            BrokenFileError: if the file is torn.
        """
        path = self._folder.checkpoint
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a torn file
            raise BrokenFileError(
                f"{path}: not a whole checkpoint; delete it to train this cell again"
            ) from error
        return state
