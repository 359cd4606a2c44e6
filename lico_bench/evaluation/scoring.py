"""Classify all images of a dataset, explain and score a selection; yield scores in parts.

A part is a range of images; ranges are assigned to processes. Ranges and part names depend only on
the dataset and the config. Any number of processes can therefore continue an evaluation that
another number started; the rows are bit-identical.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import pandas as pd
import torch
from torch import Tensor, nn

from lico_bench.checks import check_count
from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError
from lico_bench.evaluation.collector import Collector, Scores
from lico_bench.evaluation.eval_config import EvalConfig, Subject, subjects_of
from lico_bench.models import BACKBONES, evaluating
from lico_bench.saliency import MapCostInputs
from lico_bench.training import TrainedModel

GALLERY_IMAGES = 64  # images stored with their maps, per model
BATCH_SMALL = 256  # images read and explained at a time, up to SMALL_PIXELS
BATCH_LARGE = 32  # for larger images
SMALL_PIXELS = 64 * 64
UNKNOWN_CHANNELS = 512  # assumed for user models; only the cost estimate uses it

T = TypeVar("T")
Progress = Callable[[int, int], None]
StoredRows = Callable[[str], pd.DataFrame | None]


@dataclass(frozen=True)
class Shard:
    """One of `count` shares of the ranges, numbered from 0."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        check_count("shards", self.count)
        if not 0 <= self.index < self.count:
            raise InvalidInputError(
                f"shard: expected a number in [0, {self.count}), got {self.index}"
            )

    def of(self, ranges: Sequence[T]) -> Sequence[T]:
        """This shard's consecutive ranges; it then explains mostly images that it classified."""
        first, last = (i * len(ranges) // self.count for i in (self.index, self.index + 1))
        return ranges[first:last]


SINGLE_SHARD = Shard()


@dataclass(frozen=True)
class Ranges:
    """The ranges of one evaluation of a dataset.

    Attributes:
        classified: for each range to classify, positions in the dataset.
        explained: positions in the dataset of all images to explain.
        scored: for each range to explain and score, positions in `explained`.
    """

    classified: tuple[Tensor, ...]
    explained: Tensor
    scored: tuple[Tensor, ...]

    def names(self) -> list[str]:
        """Names of all parts, in the order in which they are joined."""
        ranges = (("classified", self.classified), ("scored", self.scored))
        return [_part_name(kind, part) for kind, parts in ranges for part in parts]

    def covering(self, indices: Tensor) -> list[Tensor]:
        """The ranges of `classified` that hold the images at `indices`."""
        size = len(self.classified[0])
        return [self.classified[number] for number in sorted({*(indices // size).tolist()})]


def ranges_of(dataset: Dataset, eval_config: EvalConfig) -> Ranges:
    """Return the ranges of an evaluation of `dataset`."""
    pixels = dataset.image_size[0] * dataset.image_size[1]
    size = BATCH_SMALL if pixels <= SMALL_PIXELS else BATCH_LARGE
    explained = evenly_spaced(len(dataset), eval_config.limit)
    classified, scored = (
        torch.split(torch.arange(count), size) for count in (len(dataset), len(explained))
    )
    return Ranges(classified, explained, scored)


def _part_name(kind: str, positions: Tensor) -> str:
    """Name of the part with consecutive `positions`; names sort like the positions."""
    return f"{kind}-{int(positions[0]):08d}-{int(positions[-1]) + 1:08d}"


def evenly_spaced(num_images: int, limit: int | None) -> Tensor:
    """Indices of `limit` evenly spaced images, which covers all classes of a sorted dataset."""
    if limit is None or limit >= num_images:
        return torch.arange(num_images)
    return (torch.arange(limit) * num_images) // limit


class Part(NamedTuple):
    """Scores of one range of images; the name is the same in every run."""

    name: str
    scores: Scores


def evaluate(
    models: TrainedModel | Sequence[TrainedModel] | Mapping[str, nn.Module],
    dataset: Dataset,
    *,
    methods: Sequence[str] = ("grad_cam",),
    metrics: Sequence[str] = ("insertion", "deletion", "overall"),
    protocol: str = "lico_bench_1",
    limit: int | None = None,
    layer: str | None = None,
    scorer: nn.Module | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Explain and score models on the same images.

    Args:
        models: trained models, or modules by arm name; the latter form one pair.
        dataset: the images; accuracy is measured on all of them.
        methods: saliency methods, see `lico-bench ls methods`; `rise(num_masks=200)` sets options.
        metrics: see `lico-bench ls metrics`.
        protocol: rules of the perturbation curves, see `lico-bench ls protocols`.
        limit: images to explain, spaced evenly over the dataset; all if None.
        layer: the layer that CAM methods explain; each model's explanation layer if None.
        scorer: one network that scores the maps of all models; each model scores its own maps
            if None, unless the protocol names an arm as the scorer.
        progress: called with (forwards done, total forwards), both estimates.

    Returns:
        `Scores`; `undefined` names the metrics that need ground truth this dataset does not have.

    Raises:
        UnknownNameError: for an unknown method, metric, option or protocol.
        InvalidInputError: for an empty selection, or maps that are not finite.
    """
    eval_config = EvalConfig.of(methods, metrics, protocol, limit)
    subjects = subjects_of(models, layer=layer)
    scorers = [scorer or _scoring_network(subject, subjects, eval_config) for subject in subjects]
    parts: list[Scores] = []
    for index, (subject, scored_by) in enumerate(zip(subjects, scorers, strict=True)):

        def report(done: int, total: int, index: int = index) -> None:
            if progress is not None:
                progress(index * total + done, len(subjects) * total)

        parts += [
            part.scores
            for part in score_in_parts(
                subject, dataset, eval_config, scorer=scored_by, progress=report
            )
        ]
    return Scores(
        rows=pd.concat([part.rows for part in parts], ignore_index=True),
        curves=pd.concat([part.curves for part in parts], ignore_index=True),
        gallery=pd.concat([part.gallery for part in parts], ignore_index=True),
        undefined=parts[0].undefined,
    )


def score_in_parts(
    subject: Subject,
    dataset: Dataset,
    eval_config: EvalConfig,
    *,
    scorer: nn.Module | None = None,
    stored: StoredRows = lambda _name: None,
    progress: Progress = lambda _done, _total: None,
    shard: Shard = SINGLE_SHARD,
) -> Iterator[Part]:
    """Yield the scores of one model in ranges of images, which bounds the memory.

    Args:
        scorer: the network that scores the maps; the subject's model if None.
        stored: returns the stored rows of a part by its name, or None; stored parts are neither
            computed again nor yielded.
        shard: the parts that this process computes.

    Yields:
        First the parts that classify all images, then the parts that explain and score. Their
        names depend only on the dataset and the config.
    """
    defined, undefined = eval_config.defined_for(dataset)
    ranges = ranges_of(dataset, eval_config)
    classified, scored = shard.of(ranges.classified), shard.of(ranges.scored)
    shown = set(evenly_spaced(len(ranges.explained), GALLERY_IMAGES).tolist())
    collector = Collector(subject, dataset, defined, eval_config.protocol, scorer)
    known = BACKBONES[subject.backbone].channels if subject.backbone in BACKBONES else None
    cost_inputs = MapCostInputs(channels=known or UNKNOWN_CHANNELS, image_size=dataset.image_size)
    per_map = max(1, round(eval_config.forwards_per_map(cost_inputs, metrics=[*defined])))
    total = sum(map(len, classified)) + sum(map(len, scored)) * per_map
    done = 0
    with evaluating(subject.model), evaluating(scorer or subject.model):
        for indices in classified:
            if _load_or_classify(collector, indices, stored):
                yield Part(_part_name("classified", indices), collector.take(undefined))
            done += len(indices)
            progress(done, total)
        for positions in scored:
            name = _part_name("scored", positions)
            if stored(name) is None:
                indices = ranges.explained[positions]
                _know_classes(collector, indices, ranges, stored)
                is_shown = [p in shown for p in positions.tolist()]
                collector.score(indices, eval_config.resolved_methods, is_shown)
                yield Part(name, collector.take(undefined))
            done += len(positions) * per_map
            progress(done, total)


def _know_classes(
    collector: Collector, indices: Tensor, ranges: Ranges, stored: StoredRows
) -> None:
    """Read or compute the missing classes, those of other shards' parts; the bits are the same."""
    for missing in ranges.covering(indices[collector.predicted[indices] < 0]):
        if _load_or_classify(collector, missing, stored):
            collector.take()


def _load_or_classify(collector: Collector, indices: Tensor, stored: StoredRows) -> bool:
    """Read the stored classes of a range or classify it; return whether it was classified."""
    rows = stored(_part_name("classified", indices))
    if rows is None:
        collector.classify(indices)
        return True
    classes = rows.loc[rows["metric"] == "accuracy", "target"]
    collector.predicted[indices] = torch.tensor(classes.tolist(), dtype=torch.int64)
    return False


def _scoring_network(
    subject: Subject, subjects: Sequence[Subject], eval_config: EvalConfig
) -> nn.Module | None:
    """The model of the arm that the protocol names as scorer; None if each model scores itself."""
    arm = eval_config.protocol.scorer
    if arm == "own":
        return None
    for candidate in subjects:
        if (candidate.pair, candidate.arm) == (subject.pair, arm):
            return candidate.model
    raise InvalidInputError(
        f"protocol {eval_config.protocol.name}: the model of arm '{arm}' scores all maps, but is "
        "not among the models; add it or pass scorer="
    )
