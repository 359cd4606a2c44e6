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
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lico_bench.data import Dataset, load_dataset
from lico_bench.errors import InvalidInputError
from lico_bench.models import Classifier, build_classifier, evaluating
from lico_bench.records import Recipe, resolve_precision
from lico_bench.runtime import make_generator, native_precision, pick_device
from lico_bench.training.arms import ARMS, ObjectiveInputs, resolve_options
from lico_bench.training.distributed import SINGLE_PROCESS, Peers
from lico_bench.training.session import Session

LABEL_DRAW_SEED = 0  # fixed by the protocol: all trainings of a label budget share their labels


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
    keep: Callable[[dict[str, Any]], None] | None = None,
    is_due: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] | None = None,
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

        def store() -> None:
            if keep is not None:
                keep(session.state())

        while session.epoch < recipe.epochs:
            for done in session.run_epoch():
                if progress is not None:
                    progress(done, session.num_steps)
                if peers.any(is_due()):
                    peers.run_on_leader(store)
            if session.epoch < recipe.epochs:
                peers.run_on_leader(store)
    history = pd.DataFrame(session.history, columns=["epoch", "quantity", "value"])
    return TrainedModel(session.finish(), session.recipe, history, session.objective.findings())


def prepare(
    recipe: Recipe,
    *,
    root: str | Path | None = None,
    device: str = "auto",
    dataset: Dataset | None = None,
    peers: Peers = SINGLE_PROCESS,
) -> Session:
    """Return a session before its first update.

    Raises:
        InvalidInputError: for too few images, or a batch that cannot be split between the peers.
    """
    arm, options = ARMS[recipe.arm], resolve_options(recipe.arm, dict(recipe.objective))
    options.check(recipe)
    torch_device = pick_device(device)
    data = dataset or load_training_data(recipe, root)
    if len(data) < 2:
        raise InvalidInputError(
            f"{recipe.dataset}: expected at least 2 images to train on, got {len(data)}; "
            "raise recipe.train_limit or add images"
        )
    recipe = resolve_precision(recipe, native_precision(torch_device).name)
    check_shareable(recipe, peers, num_images=len(data))
    classifier = fresh_classifier(recipe, data).to(torch_device)
    with evaluating(classifier), torch.no_grad():
        maps = classifier.features(torch.zeros(1, 3, *data.image_size, device=torch_device))
    inputs = ObjectiveInputs(
        prompt_names=data.prompt_names,
        num_channels=maps.shape[1],
        map_size=(maps.shape[2], maps.shape[3]),
        text_encoder=arm.encoder_for(recipe) or "",
        generator=make_generator(recipe.seed, "objective"),
        device=torch_device,
    )
    objective = arm.build(inputs, options).to(torch_device)
    optimizer = torch.optim.SGD(
        [{"params": list(classifier.parameters())}, *objective.parameter_groups()],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
    )
    average = None
    if recipe.ema_decay > 0:
        average = AveragedModel(classifier, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))
    return Session(
        recipe=recipe,
        dataset=data,
        classifier=classifier,
        objective=objective,
        optimizer=optimizer,
        device=torch_device,
        generators={
            purpose: make_generator(recipe.seed, purpose) for purpose in ("order", "augmentation")
        },
        average=average,
        peers=peers,
    )


def fresh_classifier(recipe: Recipe, dataset: Dataset) -> Classifier:
    """Return the untrained classifier for the classes of `dataset`, in its memory format."""
    classifier = build_classifier(
        recipe.backbone,
        num_classes=dataset.num_classes,
        mean=dataset.mean,
        std=dataset.std,
        seed=recipe.seed,
    )
    if recipe.channels_last:
        classifier = classifier.to(memory_format=torch.channels_last)
    return classifier


def check_shareable(recipe: Recipe, peers: Peers, *, num_images: int | None = None) -> None:
    """Check that batches can be split into one equal part per process.

    Args:
        num_images: of the training split, if known.

    Raises:
        InvalidInputError: for an indivisible batch size, or a compiled classifier.
    """
    size = min(recipe.batch_size, num_images or recipe.batch_size)
    if size % peers.count:
        raise InvalidInputError(
            f"batch of {size} images: expected a multiple of the {peers.count} processes that "
            "share it; change recipe.batch_size or the number of devices"
        )
    if recipe.compile and peers.count > 1:
        raise InvalidInputError(
            "recipe.compile: a compiled classifier cannot share batch statistics between "
            "processes; leave it off, or train on one device"
        )


def load_training_data(recipe: Recipe, root: str | Path | None) -> Dataset:
    """Load the training split of `recipe`."""
    return load_dataset(
        recipe.dataset,
        "train",
        root=root,
        source=recipe.source,
        image_size=recipe.image_size,
        labels=recipe.labels,
        limit=recipe.train_limit,
        skip_broken=recipe.skip_broken,
        seed=LABEL_DRAW_SEED,
        holdout=recipe.holdout or None,
    )


def load_scored_images(recipe: Recipe, root: str | Path | None) -> Dataset:
    """Load the images on which a model of `recipe` is scored: test, or held out of train."""
    return load_dataset(
        recipe.dataset,
        "val" if recipe.holdout else "test",
        root=root,
        source=recipe.source,
        image_size=recipe.image_size,
        skip_broken=recipe.skip_broken,
        seed=LABEL_DRAW_SEED,
        holdout=recipe.holdout or None,
    )
