"""Split an evaluation into ranges of images and assign the ranges to processes.

The ranges and the part names depend only on the dataset and the config. Any number of processes
can therefore continue an evaluation that another number started; the rows are bit-identical.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from lico_bench.checks import check_count
from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError
from lico_bench.evaluation.eval_config import EvalConfig

BATCH_SMALL = 256  # images read and explained at a time, up to SMALL_PIXELS
BATCH_LARGE = 32  # for larger images
SMALL_PIXELS = 64 * 64

T = TypeVar("T")


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
        return [
            *(part_name("classified", indices) for indices in self.classified),
            *(part_name("scored", positions) for positions in self.scored),
        ]

    def covering(self, indices: Tensor) -> list[Tensor]:
        """The ranges of `classified` that hold the images at `indices`."""
        size = len(self.classified[0])
        return [self.classified[number] for number in sorted({*(indices // size).tolist()})]


def ranges_of(dataset: Dataset, eval_config: EvalConfig) -> Ranges:
    """Return the ranges of an evaluation of `dataset`."""
    pixels = dataset.image_size[0] * dataset.image_size[1]
    size = BATCH_SMALL if pixels <= SMALL_PIXELS else BATCH_LARGE
    explained = evenly_spaced(len(dataset), eval_config.limit)
    return Ranges(
        tuple(_batches(len(dataset), size)), explained, tuple(_batches(len(explained), size))
    )


def part_name(kind: str, positions: Tensor) -> str:
    """Name of the part with consecutive `positions`; names sort like the positions."""
    return f"{kind}-{int(positions[0]):08d}-{int(positions[-1]) + 1:08d}"


def evenly_spaced(num_images: int, limit: int | None) -> Tensor:
    """Indices of `limit` evenly spaced images, which covers all classes of a sorted dataset."""
    if limit is None or limit >= num_images:
        return torch.arange(num_images)
    return (torch.arange(limit) * num_images) // limit


def _batches(count: int, size: int) -> Iterator[Tensor]:
    return (torch.arange(start, min(start + size, count)) for start in range(0, count, size))
