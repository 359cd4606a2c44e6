"""Fit a model: one loop, blind to the arm; the arms are objectives."""

from lico_bench.training.arms import (
    ARMS,
    Arm,
    ArmOptions,
    EncoderSize,
    Setting,
    resolve_options,
)
from lico_bench.training.loop import TrainedModel, train
from lico_bench.training.objective import Batch, Objective, Term

__all__ = [
    "ARMS",
    "Arm",
    "ArmOptions",
    "Batch",
    "EncoderSize",
    "Objective",
    "Setting",
    "Term",
    "TrainedModel",
    "resolve_options",
    "train",
]
