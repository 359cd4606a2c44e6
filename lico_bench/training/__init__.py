"""Train a classifier: one loop for all arms; an arm supplies the objective."""

from lico_bench.training.arms import (
    ARMS,
    Arm,
    ArmOptions,
    EncoderSize,
    ObjectiveInputs,
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
    "ObjectiveInputs",
    "Term",
    "TrainedModel",
    "resolve_options",
    "train",
]
