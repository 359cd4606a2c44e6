"""The training loop, the same for every arm: only the objective it is handed differs.

State is offered after each epoch; a training resumed from it ends with the same bits on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.data import Dataset
from lico_bench.models import Classifier
from lico_bench.records import Recipe
from lico_bench.training.session import prepare

Progress = Callable[[int, int], None]
Keep = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainedModel:
    """A classifier, how it was made and what was seen on the way.

    Attributes:
        history: one row per (epoch, quantity): mean of each loss term, learning rate, accuracy on
            the training batches, diagnostics of the objective, seconds; from the first batch of
            the epoch the norm of each weighted term's gradient on the backbone, and how alike the
            channel maps are (`channel_geometry`).
        findings: what the objective says of itself at the end, ready for JSON.
    """

    classifier: Classifier
    recipe: Recipe
    history: pd.DataFrame
    findings: dict[str, Any] = field(default_factory=dict)


def train(
    recipe: Recipe,
    *,
    root: str | Path | None = None,
    device: str = "auto",
    dataset: Dataset | None = None,
    state: dict[str, Any] | None = None,
    keep: Keep | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train the classifier that `recipe` describes.

    Args:
        root: folder that holds the datasets; LICO_BENCH_DATA if None.
        dataset: the training split, if it is already loaded.
        state: what `keep` was given earlier; training goes on after its epoch.
        keep: called with the complete state after each epoch.
        progress: called with (steps done, steps in all).

    Returns:
        The classifier of the last epoch, in evaluation mode.

    Raises:
        TrainingError: if a loss or what it is made of is not finite, or a declared term trains
            nothing.
        UnknownNameError: for an unknown dataset, backbone, arm, option or encoder.
    """
    session = prepare(recipe, root=root, device=device, dataset=dataset)
    if state is not None:
        session.restore(state)
    total = session.num_steps
    while session.epoch < recipe.epochs:
        for done in session.run_epoch():
            if progress is not None:
                progress(done, total)
        if keep is not None and session.epoch < recipe.epochs:
            keep(session.state())
    history = pd.DataFrame(session.history, columns=["epoch", "quantity", "value"])
    return TrainedModel(session.finish(), recipe, history, session.objective.findings())
