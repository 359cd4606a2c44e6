"""Random draws that many calls share: what was drawn last is kept, as small as it can be.

The draws depend on their number, on the number of images and on the seed alone, and a report
asks for the same ones for every arm and dataset; drawing them anew took half of its time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

Drawn = NDArray[np.unsignedinteger[Any]]

KEPT_BYTES = 2**28  # of all that is kept
_CHUNK = 2**22  # weights handed out at once: 16 MiB as single precision
_PIECE = 2**17  # draws made at once: what a core's cache holds takes half the time
# The eight signs that a byte stands for, its highest bit first.
_SIGNS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) * 2 - 1

_kept: OrderedDict[Hashable, list[Drawn]] = OrderedDict()
_at_work = Lock()  # reports compare in several threads


def image_weights(num_images: int, *, resamples: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """How often each image was drawn, (r, I) at a time; the next ones overwrite it."""
    blocks = _draw_weights(num_images, resamples, seed)
    room = np.empty((min(resamples, _rows(num_images)), num_images), dtype=np.float32)
    for counts in _keeping(("weights", num_images, resamples, seed), blocks):
        weights = room[: len(counts)]
        np.copyto(weights, counts)
        yield weights


def image_signs(
    num_images: int, *, resamples: int, rows: int, seed: int
) -> Iterator[NDArray[np.float32]]:
    """Random signs, (`rows`, I) at a time; the next ones overwrite it, other `rows` differ."""
    blocks = _draw_signs(num_images, resamples, rows, seed)
    room = np.empty((min(resamples, rows), -(-num_images // 8), 8), dtype=np.float32)
    for packed in _keeping(("signs", num_images, resamples, rows, seed), blocks):
        signs = room[: len(packed)]
        np.take(_SIGNS, packed, axis=0, out=signs, mode="clip")  # "raise" would copy first
        yield signs.reshape(len(packed), -1)[:, :num_images]


def _keeping(key: Hashable, blocks: Iterator[Drawn]) -> Iterator[Drawn]:
    """The blocks that are kept under `key`, or those given, which are kept if they are small."""
    with _at_work:
        kept = _kept.get(key)
        if kept is not None:
            _kept.move_to_end(key)
    if kept is not None:
        yield from kept
        return
    drawn: list[Drawn] | None = []
    for block in blocks:
        if drawn is not None:
            drawn.append(block)
            if _size(drawn) > KEPT_BYTES // 2:
                drawn = None
        yield block
    if drawn is not None:
        with _at_work:
            _kept[key] = drawn
            while sum(map(_size, _kept.values())) > KEPT_BYTES:
                _kept.popitem(last=False)


def _size(blocks: list[Drawn]) -> int:
    return sum(block.nbytes for block in blocks)


def _rows(num_images: int) -> int:
    return max(1, _CHUNK // num_images)


def _draw_weights(num_images: int, resamples: int, seed: int) -> Iterator[Drawn]:
    generator = np.random.default_rng([seed, num_images])
    step = max(1, _PIECE // num_images)
    for start in range(0, resamples, _rows(num_images)):
        rows = min(_rows(num_images), resamples - start)
        pieces = [
            _count_draws(generator, min(step, rows - row), num_images)
            for row in range(0, rows, step)
        ]
        largest = max(int(piece.max()) for piece in pieces)
        yield np.concatenate(pieces, dtype=np.min_scalar_type(largest), casting="same_kind")


def _count_draws(generator: np.random.Generator, rows: int, num_images: int) -> Drawn:
    """How often each image is among as many draws of one, (rows, I)."""
    drawn = generator.integers(0, num_images, (rows, num_images), dtype=np.int64)
    drawn += np.arange(rows)[:, None] * num_images
    counts = np.bincount(drawn.ravel(), minlength=rows * num_images)
    return counts.reshape(rows, num_images).astype(np.uint32)


def _draw_signs(num_images: int, total: int, rows: int, seed: int) -> Iterator[Drawn]:
    """Eight signs to a byte."""
    generator = np.random.default_rng([seed, num_images, 2])
    for start in range(0, total, rows):
        shape = (min(rows, total - start), -(-num_images // 8))
        yield generator.integers(0, 256, shape, dtype=np.uint8)
