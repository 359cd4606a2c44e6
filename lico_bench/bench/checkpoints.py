"""Checkpoints of an unfinished training and the classifier of a finished one."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import torch

from lico_bench.bench.preemption import should_stop
from lico_bench.errors import BrokenFileError, Preempted
from lico_bench.models import Classifier, build_classifier, load_weights
from lico_bench.store import CellFolder

EVERY_S = 600.0  # limits the loss within a long epoch to ten minutes
# Mean and std of a classifier before its weights are loaded, which hold both.
PLACEHOLDER = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


class Checkpoint:
    """Checkpoint file of one training, written after epochs, at intervals and at preemption.

    Args:
        every_s: seconds between two checkpoints, by a monotonic clock.
    """

    def __init__(self, folder: CellFolder, *, every_s: float = EVERY_S) -> None:
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


def load_classifier(
    weights: Path, backbone: str, *, num_classes: int, channels_last: bool, device: torch.device
) -> Classifier:
    """Return the classifier of stored weights in evaluation mode.

    Args:
        channels_last: memory format, as in the recipe; the last bits of scores depend on it.

    Raises:
        BrokenFileError: if the file is damaged or belongs to another model.
    """
    classifier = build_classifier(backbone, num_classes=num_classes, seed=0, **PLACEHOLDER)
    if channels_last:
        classifier = classifier.to(memory_format=torch.channels_last)
    load_weights(classifier, weights)
    return classifier.eval().requires_grad_(False).to(device)
