"""The training loop, the same for every arm: only the objective it is handed differs.

State is offered after each epoch and whenever it is asked for; a training resumed from it ends
with the same bits on a CPU.
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
from lico_bench.training.distributed import ALONE, Peers
from lico_bench.training.preparation import prepare

Progress = Callable[[int, int], None]
Keep = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainedModel:
    """A classifier, how it was made and what was seen on the way.

    Attributes:
        recipe: with the precision that was used in place of `auto`.
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
    is_due: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
    peers: Peers = ALONE,
) -> TrainedModel:
    """Train the classifier that `recipe` describes.

    Args:
        root: folder that holds the datasets; LICO_BENCH_DATA if None.
        dataset: the training split, if it is already loaded.
        state: what `keep` was given earlier; training goes on after its last update.
        keep: called with the complete state after each epoch and when `is_due`.
        is_due: asked after each update whether the state should be kept now.
        progress: called with (steps done, steps in all).
        peers: the processes that train this model together, each with a call like this one; the
            leader's `state` and `keep` count.

    Returns:
        The classifier of the last epoch, in evaluation mode; the same in every process.

    Raises:
        TrainingError: if a loss or what it is made of is not finite, or a declared term trains
            nothing.
        UnknownNameError: for an unknown dataset, backbone, arm, option or encoder.
        LostPeersError: if one of the processes is gone.
    """
    with peers.in_step():
        session = prepare(recipe, root=root, device=device, dataset=dataset, peers=peers)
        state = peers.same(state)
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
                    peers.follow_leader(store)
            if session.epoch < recipe.epochs:
                peers.follow_leader(store)
    history = pd.DataFrame(session.history, columns=["epoch", "quantity", "value"])
    return TrainedModel(session.finish(), session.recipe, history, session.objective.findings())
