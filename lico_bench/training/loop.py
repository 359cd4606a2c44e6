"""The training loop, identical for every arm; only the objective differs.

The state is offered to a callback after each epoch and on request. On a CPU, a training resumed
from it ends with the same bits.
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
from lico_bench.training.distributed import SINGLE_PROCESS, Peers
from lico_bench.training.preparation import prepare

Progress = Callable[[int, int], None]
Keep = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainedModel:
    """A trained classifier with its recipe and training history.

    Attributes:
        recipe: with the precision that replaced `auto`.
        history: one row per (epoch, quantity): mean of each loss term, learning rate, accuracy on
            the training batches, diagnostics of the objective, seconds; from the first batch of
            the epoch the gradient norm of each weighted term on the backbone and the similarity
            of the channel maps (`channel_geometry`).
        findings: JSON-ready results of the trained objective, such as context words.
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
    is_due: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
    peers: Peers = SINGLE_PROCESS,
) -> TrainedModel:
    """Train the classifier described by `recipe`.

    Args:
        root: folder that holds the datasets; LICO_BENCH_DATA if None.
        dataset: the training split, if it is already loaded.
        state: an earlier argument of `keep`; training resumes after its last update.
        keep: called with the complete state after each epoch and when `is_due` returns True.
        is_due: called after each update; True requests a call of `keep`.
        progress: called with (finished steps, total steps).
        peers: the processes that train this model together, each with the same call; only the
            leader's `state` and `keep` are used.

    Returns:
        The classifier of the last epoch, in evaluation mode; the same in every process.

    Raises:
        TrainingError: if a loss or its inputs are not finite, or a declared term has no gradient.
        UnknownNameError: for an unknown dataset, backbone, arm, option or encoder.
        LostPeersError: if another process was lost.
    """
    with peers.synchronised():
        session = prepare(recipe, root=root, device=device, dataset=dataset, peers=peers)
        state = peers.broadcast(state)
        if state is not None:
            session.restore(state)
        total = session.num_steps

        def store() -> None:
            if keep is not None:
                keep(session.state())

        while session.epoch < recipe.epochs:
            for done in session.run_epoch():
                if progress is not None:
                    progress(done, total)
                if peers.any(is_due()):
                    peers.run_on_leader(store)
            if session.epoch < recipe.epochs:
                peers.run_on_leader(store)
    history = pd.DataFrame(session.history, columns=["epoch", "quantity", "value"])
    return TrainedModel(session.finish(), session.recipe, history, session.objective.findings())
