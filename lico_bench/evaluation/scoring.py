"""Walk the pictures of a dataset: classify all, explain and score some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from lico_bench.checks import check_count
from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError
from lico_bench.evaluation.collector import Collector, Scores
from lico_bench.evaluation.subject import Subject, subjects_of
from lico_bench.metrics import METRICS, PROTOCOLS
from lico_bench.models import evaluating
from lico_bench.records import Protocol
from lico_bench.training import TrainedModel

BATCH_SMALL = 256  # pictures read and explained at a time
BATCH_LARGE = 32
SMALL_PIXELS = 64 * 64
GALLERY_IMAGES = 12

Progress = Callable[[int, int], None]


def evaluate(
    models: TrainedModel | Sequence[TrainedModel] | Mapping[str, nn.Module],
    dataset: Dataset,
    *,
    methods: Sequence[str] = ("grad_cam",),
    metrics: Sequence[str] = ("insertion", "deletion", "overall"),
    protocol: str = "lico_bench_1",
    limit: int | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Explain and score models on the same pictures.

    Args:
        models: trained models, or modules by arm name; the latter are taken as one pair.
        dataset: the pictures; accuracy is measured on all of them.
        methods: saliency methods, see `lico-bench ls methods`.
        metrics: see `lico-bench ls metrics`.
        protocol: rules of the perturbation curves, see `lico-bench ls protocols`.
        limit: pictures to explain, spread evenly over the dataset; all if None.
        progress: called with (pictures done, pictures in all).

    Returns:
        `Scores`; metrics without ground truth in this dataset are left out and named.

    Raises:
        UnknownNameError: for an unknown method, metric or protocol.
        InvalidInputError: for an empty selection, or maps that are not finite.
    """
    subjects = subjects_of(models)
    parts = [
        evaluate_subject(
            subject, dataset, methods=methods, metrics=metrics, protocol=PROTOCOLS[protocol],
            limit=limit, progress=_offset(progress, index, len(subjects)),
        )
        for index, subject in enumerate(subjects)
    ]  # fmt: skip
    return Scores(
        rows=pd.concat([part.rows for part in parts], ignore_index=True),
        curves=pd.concat([part.curves for part in parts], ignore_index=True),
        gallery=pd.concat([part.gallery for part in parts], ignore_index=True),
        undefined=parts[0].undefined,
    )


def evaluate_subject(
    subject: Subject,
    dataset: Dataset,
    *,
    methods: Sequence[str],
    metrics: Sequence[str],
    protocol: Protocol,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Scores:
    """`evaluate` for one model."""
    if not methods or not metrics:
        raise InvalidInputError("evaluate: expected at least one method and one metric")
    if limit is not None:
        check_count("limit", limit)
    defined, undefined = _split_by_ground_truth(metrics, dataset)
    explained = spread(len(dataset), limit)
    batch = (
        BATCH_SMALL
        if dataset.image_size[0] * dataset.image_size[1] <= SMALL_PIXELS
        else BATCH_LARGE
    )
    total = len(dataset) + len(explained) * len(methods)
    collector = Collector(subject, dataset, tuple(defined), protocol)
    shown = set(spread(len(explained), GALLERY_IMAGES).tolist())
    done = 0
    with evaluating(subject.model):
        for indices in _ranges(len(dataset), batch):
            collector.classify(indices)
            done = _report(progress, done + len(indices), total)
        for place in _ranges(len(explained), batch):
            for method in methods:
                collector.score(explained[place], method, [p in shown for p in place.tolist()])
                done = _report(progress, done + len(place), total)
    return collector.scores(undefined)


def spread(num_images: int, limit: int | None) -> Tensor:
    """Indices of `limit` pictures at even distances, so that sorted classes are all met."""
    if limit is None or limit >= num_images:
        return torch.arange(num_images)
    return (torch.arange(limit) * num_images) // limit


def _split_by_ground_truth(
    metrics: Iterable[str], dataset: Dataset
) -> tuple[list[str], tuple[str, ...]]:
    defined: list[str] = []
    undefined: list[str] = []
    for name in metrics:
        needs_regions = "regions" in METRICS[name].spec.needs
        (undefined if needs_regions and not dataset.has_regions else defined).append(name)
    if not defined:
        raise InvalidInputError(
            f"{dataset.name} has no regions, which {', '.join(undefined)} need; "
            "ask for other metrics"
        )
    return defined, tuple(undefined)


def _offset(progress: Progress | None, index: int, count: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, count * total)


def _ranges(count: int, size: int) -> Iterator[Tensor]:
    return (torch.arange(start, min(start + size, count)) for start in range(0, count, size))


def _report(progress: Progress | None, done: int, total: int) -> int:
    if progress is not None:
        progress(done, total)
    return done
