"""Which ranges of images a scoring is cut into, and which of them one process takes.

The ranges, and so the names of the parts, depend on the dataset and the question alone. A scoring
that one number of processes began is gone on with by any other, and no bit of a row depends on it.
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

BATCH_SMALL = 256  # images read and explained at a time
BATCH_LARGE = 32
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
        """Neighbouring ranges, so that a share explains mostly what it classified itself."""
        first, last = (place * len(ranges) // self.count for place in (self.index, self.index + 1))
        return ranges[first:last]


WHOLE = Shard()


@dataclass(frozen=True)
class Ranges:
    """What is asked of a dataset, cut into ranges.

    Attributes:
        classified: positions in the dataset of each range that is classified.
        explained: positions in the dataset of all images that are explained.
        scored: positions in `explained` of each range that is explained and scored.
    """

    classified: tuple[Tensor, ...]
    explained: Tensor
    scored: tuple[Tensor, ...]

    def names(self) -> list[str]:
        """Of all parts, in the order in which they are joined."""
        return [
            *(part_name("classified", indices) for indices in self.classified),
            *(part_name("scored", places) for places in self.scored),
        ]

    def around(self, indices: Tensor) -> list[Tensor]:
        """The ranges of `classified` that hold the images at `indices`."""
        size = len(self.classified[0])
        return [self.classified[number] for number in sorted({*(indices // size).tolist()})]


def ranges_of(dataset: Dataset, eval_config: EvalConfig) -> Ranges:
    """The ranges that `question` of `dataset` is cut into."""
    pixels = dataset.image_size[0] * dataset.image_size[1]
    size = BATCH_SMALL if pixels <= SMALL_PIXELS else BATCH_LARGE
    explained = spread(len(dataset), eval_config.limit)
    return Ranges(tuple(_cut(len(dataset), size)), explained, tuple(_cut(len(explained), size)))


def part_name(what: str, places: Tensor) -> str:
    """Name of the part of neighbouring `places`; names sort as the places do."""
    return f"{what}-{int(places[0]):08d}-{int(places[-1]) + 1:08d}"


def spread(num_images: int, limit: int | None) -> Tensor:
    """Indices of `limit` images at even distances, so that sorted classes are all met."""
    if limit is None or limit >= num_images:
        return torch.arange(num_images)
    return (torch.arange(limit) * num_images) // limit


def _cut(count: int, size: int) -> Iterator[Tensor]:
    return (torch.arange(start, min(start + size, count)) for start in range(0, count, size))
