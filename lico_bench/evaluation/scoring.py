"""Walk the images of a dataset: classify all, explain and score some; hand on part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError
from lico_bench.evaluation.collector import Collector, Scores
from lico_bench.evaluation.eval_config import EvalConfig
from lico_bench.evaluation.shards import WHOLE, Shard, part_name, ranges_of, spread
from lico_bench.evaluation.subject import Subject, subjects_of
from lico_bench.models import evaluating
from lico_bench.training import TrainedModel

GALLERY_IMAGES = 64  # kept with their maps, of each model

Progress = Callable[[int, int], None]
ImageHeader = Callable[[str], pd.DataFrame | None]


class Part(NamedTuple):
    """The scores of one range of images, under a name that a second run gives them too."""

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
        models: trained models, or modules by arm name; the latter are taken as one pair.
        dataset: the images; accuracy is measured on all of them.
        methods: saliency methods, see `lico-bench ls methods`; `rise(num_masks=200)` sets options.
        metrics: see `lico-bench ls metrics`.
        protocol: rules of the perturbation curves, see `lico-bench ls protocols`.
        limit: images to explain, spread evenly over the dataset; all if None.
        layer: what methods of the CAM family look at; the models' own if None.
        scorer: one network that scores the maps of all models; each its own if None. A protocol
            that names an arm as the scorer takes the model of that arm.
        progress: called with (forwards done, forwards in all), both estimates.

    Returns:
        `Scores`; metrics without ground truth in this dataset are left out and named.

    Raises:
        UnknownNameError: for an unknown method, metric, option or protocol.
        InvalidInputError: for an empty selection, or maps that are not finite.
    """
    eval_config = EvalConfig.of(methods, metrics, protocol, limit)
    subjects = subjects_of(models, layer=layer)
    scorers = [scorer or _scorer_of(subject, subjects, eval_config) for subject in subjects]
    parts = [
        part.scores
        for index, subject in enumerate(subjects)
        for part in score_in_parts(
            subject, dataset, eval_config, scorer=scorers[index],
            progress=_offset(progress, index, len(subjects)),
        )
    ]  # fmt: skip
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
    stored: ImageHeader = lambda _name: None,
    progress: Progress | None = None,
    shard: Shard = WHOLE,
) -> Iterator[Part]:
    """The scores of one model, a range of images at a time, so that memory stays flat.

    Args:
        scorer: the network that scores; the subject's own if None.
        stored: from a part's name to the rows of it that are stored; such a part is not made
            again and not handed on.
        shard: the share of the parts that is made here.

    Yields:
        Parts whose names depend on the dataset and the question alone: first those that classify
        every image, then those that explain and score.
    """
    defined, undefined = eval_config.defined_for(dataset)
    ranges = ranges_of(dataset, eval_config)
    classified, scored = shard.of(ranges.classified), shard.of(ranges.scored)
    shown = set(spread(len(ranges.explained), GALLERY_IMAGES).tolist())
    collector = Collector(subject, dataset, defined, eval_config.protocol, scorer)
    per_map = max(
        1, round(eval_config.forwards_per_map(subject.setting(dataset), metrics=[*defined]))
    )
    total = sum(map(len, classified)) + sum(map(len, scored)) * per_map
    done = 0
    with evaluating(subject.model), evaluating(scorer or subject.model):
        for indices in classified:
            if _learn(collector, indices, stored):
                yield Part(part_name("classified", indices), collector.take(undefined))
            done = _report(progress, done + len(indices), total)
        for places in scored:
            name = part_name("scored", places)
            if stored(name) is None:
                indices = ranges.explained[places]
                for unknown in ranges.around(indices[collector.predicted[indices] < 0]):
                    # Another shard's part: read, or made once more with the same bits.
                    if _learn(collector, unknown, stored):
                        collector.take()
                is_shown = [p in shown for p in places.tolist()]
                collector.score(indices, eval_config.resolved_methods, is_shown)
                yield Part(name, collector.take(undefined))
            done = _report(progress, done + len(places) * per_map, total)


def _learn(collector: Collector, indices: Tensor, stored: ImageHeader) -> bool:
    """Learn the classes of a range, stored or not; whether they were made here just now."""
    rows = stored(part_name("classified", indices))
    if rows is None:
        collector.classify(indices)
        return True
    collector.predicted[indices] = _predicted(rows)
    return False


def _scorer_of(
    subject: Subject, subjects: Sequence[Subject], eval_config: EvalConfig
) -> nn.Module | None:
    """The network that the protocol names; None where it is the subject's own."""
    arm = eval_config.protocol.scorer
    if arm == "own":
        return None
    for other in subjects:
        if (other.pair, other.arm) == (subject.pair, arm):
            return other.model
    raise InvalidInputError(
        f"protocol {eval_config.protocol.name}: the network of arm '{arm}' scores all maps, and it is "
        "not among the models; add it, or pass scorer="
    )


def _predicted(rows: pd.DataFrame) -> Tensor:
    classes = rows.loc[rows["metric"] == "accuracy", "target"]
    return torch.tensor(classes.tolist(), dtype=torch.int64)


def _offset(progress: Progress | None, index: int, count: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, count * total)


def _report(progress: Progress | None, done: int, total: int) -> int:
    if progress is not None:
        progress(done, total)
    return done
