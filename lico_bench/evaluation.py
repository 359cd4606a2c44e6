"""The one place where model, map and metric meet: per-picture scores of trained models.

The room is called `evaluation` and not `evaluate`, because a module of that name would hide the
public function `lico_bench.evaluate`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from lico_bench.checks import check_count
from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, PROTOCOLS, Curves, Evidence
from lico_bench.models import evaluating, logits_of
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS, Protocol, content_key
from lico_bench.saliency import explain
from lico_bench.training import TrainedModel

BATCH_SMALL = 256  # pictures read and explained at a time
BATCH_LARGE = 32
SMALL_PIXELS = 64 * 64
GALLERY_IMAGES = 12
DEGENERATE = "degenerate_map"
SKIPPED = "skipped_region"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Subject:
    """A model under test and the columns that say which one it is."""

    model: nn.Module
    pair: str
    cell: str
    backbone: str
    arm: str
    seed: int
    labels: str

    @classmethod
    def of(cls, trained: TrainedModel, cell: str | None = None) -> Subject:
        """The subject that a training made."""
        recipe = trained.recipe
        return cls(
            model=trained.classifier,
            pair=recipe.pair_key,
            cell=cell or f"{recipe.arm}-s{recipe.seed}-{recipe.pair_key}",
            backbone=recipe.backbone,
            arm=recipe.arm,
            seed=recipe.seed,
            labels=str(recipe.labels),
        )


@dataclass(frozen=True)
class Scores:
    """Rows of one or more models, with the curves and pictures behind them.

    Attributes:
        rows: one score of one picture each, columns `records.ROW_COLUMNS`.
        curves: one curve of one picture each, columns `records.CURVE_COLUMNS`.
        gallery: a few pictures with their maps.
        undefined: metrics asked for that this dataset has no ground truth for.
    """

    rows: pd.DataFrame
    curves: pd.DataFrame
    gallery: pd.DataFrame
    undefined: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """The rows."""
        return self.rows


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
    subjects = _subjects(models)
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
    collector = _Collector(subject, dataset, tuple(defined), protocol)
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


@dataclass
class _Collector:
    """Collects the rows of one subject, batch by batch."""

    subject: Subject
    dataset: Dataset
    metrics: tuple[str, ...]
    protocol: Protocol
    rows: list[pd.DataFrame] = field(default_factory=list)
    curves: list[pd.DataFrame] = field(default_factory=list)
    gallery: list[dict[str, Any]] = field(default_factory=list)
    predicted: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.predicted = torch.full((len(self.dataset),), -1)
        self._device = next(self.subject.model.parameters()).device

    def classify(self, indices: Tensor) -> None:
        """Accuracy and confidence of a batch."""
        images = self._read(indices)
        with torch.inference_mode():
            probs = logits_of(self.subject.model(images)).float().softmax(1).cpu()
        confidence, predicted = probs.max(dim=1)
        self.predicted[indices] = predicted
        right = (predicted == self.dataset.labels[indices]).float()
        for metric, value in (("accuracy", right), ("confidence", confidence)):
            self._add(
                indices, targets=predicted, method="", metric=metric, protocol="", value=value
            )

    def score(self, indices: Tensor, method: str, is_shown: Sequence[bool]) -> None:
        """Maps of a batch by one method, and every metric of them."""
        images = self._read(indices)
        targets = self._targets(indices)
        maps = explain(self.subject.model, images, targets.to(self._device), method=method)
        regions = self.dataset.read_regions(indices) if self.dataset.has_regions else None
        evidence = Evidence(
            self._logits, images, targets.to(self._device), maps, regions, self.protocol
        )
        flat = maps.flatten(1)
        degenerate = (flat.amax(1) == flat.amin(1)).cpu()
        for metric in self.metrics:
            entry = METRICS[metric]
            value = entry.compute(evidence).float().cpu()
            self._add(
                indices,
                targets=targets,
                method=method,
                metric=metric,
                protocol=entry.spec.protocol or self.protocol.id,
                value=value,
                flag=_flags(value, degenerate),
            )
        if "curves" in evidence.__dict__:
            self._add_curves(indices, targets, method, evidence.curves)
        self._add_to_gallery(indices, method, images, maps, regions, is_shown)

    def scores(self, undefined: tuple[str, ...]) -> Scores:
        """All that was collected."""
        curves = self.curves or [pd.DataFrame(columns=list(CURVE_COLUMNS))]
        return Scores(
            rows=pd.concat(self.rows, ignore_index=True),
            curves=pd.concat(curves, ignore_index=True),
            gallery=pd.DataFrame(self.gallery),
            undefined=undefined,
        )

    def _read(self, indices: Tensor) -> Tensor:
        images = self.dataset.read(indices).to(self._device)
        return images.contiguous(memory_format=torch.channels_last)

    def _targets(self, indices: Tensor) -> Tensor:
        if self.protocol.explained_class == "predicted":
            return self.predicted[indices]
        return self.dataset.labels[indices]

    def _logits(self, images: Tensor) -> Tensor:
        return logits_of(self.subject.model(images))

    def _identity(self, indices: Tensor, targets: Tensor) -> dict[str, Any]:
        right = self.predicted[indices] == self.dataset.labels[indices]
        return {
            "pair": self.subject.pair,
            "cell": self.subject.cell,
            "dataset": self.dataset.name,
            "source": self.dataset.source,
            "backbone": self.subject.backbone,
            "arm": self.subject.arm,
            "seed": self.subject.seed,
            "labels": self.subject.labels,
            "image_id": [self.dataset.image_ids[i] for i in indices.tolist()],
            "target": targets.numpy().astype(np.int32),
            "correct": right.numpy(),
        }

    def _add(
        self, indices: Tensor, *, targets: Tensor, method: str, metric: str, protocol: str,
        value: Tensor, flag: Sequence[str] | str = "",
    ) -> None:  # fmt: skip
        frame = pd.DataFrame(
            {
                **self._identity(indices, targets),
                "method": method,
                "metric": metric,
                "protocol": protocol,
                "value": value.numpy().astype(np.float64),
                "flag": flag,
            }
        )
        self.rows.append(frame[list(ROW_COLUMNS)])

    def _add_curves(self, indices: Tensor, targets: Tensor, method: str, curves: Curves) -> None:
        fractions = curves.fractions.numpy()
        for name, values in (("insertion", curves.insertion), ("deletion", curves.deletion)):
            frame = pd.DataFrame(
                {
                    **self._identity(indices, targets),
                    "method": method,
                    "protocol": self.protocol.id,
                    "curve": name,
                    "fractions": [fractions] * len(indices),
                    "values": list(values.numpy()),
                }
            )
            self.curves.append(frame[list(CURVE_COLUMNS)])

    def _add_to_gallery(
        self, indices: Tensor, method: str, images: Tensor, maps: Tensor,
        regions: Tensor | None, is_shown: Sequence[bool],
    ) -> None:  # fmt: skip
        names = self.dataset.class_names
        for row, index in enumerate(indices.tolist()):
            if not is_shown[row]:
                continue
            height, width = maps.shape[1:]
            self.gallery.append(
                {
                    "pair": self.subject.pair,
                    "cell": self.subject.cell,
                    "dataset": self.dataset.name,
                    "source": self.dataset.source,
                    "arm": self.subject.arm,
                    "seed": self.subject.seed,
                    "image_id": self.dataset.image_ids[index],
                    "method": method,
                    "label_name": names[int(self.dataset.labels[index])],
                    "predicted_name": names[int(self.predicted[index])],
                    "correct": bool(self.predicted[index] == self.dataset.labels[index]),
                    "height": height,
                    "width": width,
                    "image_png": _png(images[row].permute(1, 2, 0)),
                    "map": maps[row].cpu().flatten().numpy(),
                    "region_png": None if regions is None else _png(regions[row].float()),
                }
            )


def _flags(value: Tensor, degenerate: Tensor) -> list[str]:
    return [
        SKIPPED if skipped else DEGENERATE if flat else ""
        for skipped, flat in zip(value.isnan().tolist(), degenerate.tolist(), strict=True)
    ]


def _png(picture: Tensor) -> bytes:
    """PNG bytes of (H, W, 3) or (H, W) values in [0, 1]."""
    stream = io.BytesIO()
    content = (picture.cpu().clamp(0, 1) * 255).round().byte().contiguous().numpy()
    Image.fromarray(content).save(stream, format="PNG")
    return stream.getvalue()


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


def _subjects(
    models: TrainedModel | Sequence[TrainedModel] | Mapping[str, nn.Module],
) -> list[Subject]:
    if isinstance(models, TrainedModel):
        return [Subject.of(models)]
    if isinstance(models, Mapping):
        pair = content_key(sorted(models))
        return [
            Subject(model, pair=pair, cell=arm, backbone="own", arm=arm, seed=0, labels="full")
            for arm, model in models.items()
        ]
    if not models:
        raise InvalidInputError("evaluate: expected at least one model, got none")
    return [Subject.of(trained) for trained in models]


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
