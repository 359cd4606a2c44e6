"""Cache of the random draws that many calls share, in compact integer types.

The draws depend only on their number, the number of images and the seed. A report uses the same
draws for every arm and dataset; without the cache, drawing took half of its time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

Drawn = NDArray[np.unsignedinteger[Any]]

CACHE_BYTES = 2**28  # limit of the cache size
_CHUNK = 2**22  # weights yielded at once: 16 MiB in single precision
_DRAW_CHUNK = 2**17  # draws made at once: fits into a core's cache, which halves the time
# The eight signs encoded in a byte, highest bit first.
_SIGNS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) * 2 - 1

_cache: OrderedDict[Hashable, list[Drawn]] = OrderedDict()
_lock = Lock()  # reports compare in several threads


def image_weights(num_images: int, *, resamples: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield how often each image was drawn, in blocks (r, I) of one buffer that is reused."""
    blocks = _draw_weights(num_images, resamples, seed)
    buffer = np.empty((min(resamples, _rows(num_images)), num_images), dtype=np.float32)
    key = ("weights", num_images, resamples, seed)
    for counts in _cached(key, blocks, num_bytes=resamples * num_images):
        weights = buffer[: len(counts)]
        np.copyto(weights, counts)
        yield weights


def image_signs(
    num_images: int, *, resamples: int, rows: int, seed: int
) -> Iterator[NDArray[np.float32]]:
    """Yield random signs, in blocks (`rows`, I) of one reused buffer.

    The signs depend on `rows`.
    """
    blocks = _draw_signs(num_images, resamples, rows, seed)
    buffer = np.empty((min(resamples, rows), -(-num_images // 8), 8), dtype=np.float32)
    key = ("signs", num_images, resamples, rows, seed)
    for packed in _cached(key, blocks, num_bytes=resamples * num_images // 8):
        signs = buffer[: len(packed)]
        np.take(_SIGNS, packed, axis=0, out=signs, mode="clip")  # "raise" would copy first
        yield signs.reshape(len(packed), -1)[:, :num_images]


def _cached(key: Hashable, blocks: Iterable[Drawn], num_bytes: int) -> Iterable[Drawn]:
    """Return the blocks cached under `key`, else `blocks`, which are cached if small enough."""
    if num_bytes > CACHE_BYTES // 2:
        return blocks
    drawn = _cache.get(key) or list(blocks)
    with _lock:
        _cache[key] = drawn
        _cache.move_to_end(key)
        while sum(block.nbytes for kept in _cache.values() for block in kept) > CACHE_BYTES:
            _cache.popitem(last=False)
    return drawn


def _rows(num_images: int) -> int:
    return max(1, _CHUNK // num_images)


def _draw_weights(num_images: int, resamples: int, seed: int) -> Iterator[Drawn]:
    generator = np.random.default_rng([seed, num_images])
    step = max(1, _DRAW_CHUNK // num_images)
    for start in range(0, resamples, _rows(num_images)):
        rows = min(_rows(num_images), resamples - start)
        counts = [
            _count_draws(generator, min(step, rows - row), num_images)
            for row in range(0, rows, step)
        ]
        largest = max(int(part.max()) for part in counts)
        yield np.concatenate(counts, dtype=np.min_scalar_type(largest), casting="same_kind")


def _count_draws(generator: np.random.Generator, rows: int, num_images: int) -> Drawn:
    """Return how often each image occurs in I draws with replacement, (rows, I)."""
    drawn = generator.integers(0, num_images, (rows, num_images), dtype=np.int64)
    drawn += np.arange(rows)[:, None] * num_images
    counts = np.bincount(drawn.ravel(), minlength=rows * num_images)
    return counts.reshape(rows, num_images).astype(np.uint32)


def _draw_signs(num_images: int, total: int, rows: int, seed: int) -> Iterator[Drawn]:
    """Yield random bytes, each of which encodes eight signs."""
    generator = np.random.default_rng([seed, num_images, 2])
    for start in range(0, total, rows):
        shape = (min(rows, total - start), -(-num_images // 8))
        yield generator.integers(0, 256, shape, dtype=np.uint8)
