"""Means over seeds and images with two-level bootstrap intervals, many columns at once.

Two factors are random: the training seeds and the test images. Every seed is tested on the same
images (crossed, not nested design). One draw of images therefore serves all seeds, and the noise of
one seed on one image must be counted only once:

    d_s      = mean over the images of seed s
    d        = mean over the seeds of d_s
    g_si     = (x_si - d_s) / n_s               share of image i in d_s
    image^2  = I / (I - 1) * sum_i (mean_s g_si)^2
    noise    = sum_si (g_si - mean_s g_si)^2 / (S - 1)    the spread of d_s due to images alone
    seed^2   = max(0, var_s(d_s) - noise) / S             var_s with S - 1

The image part is a bootstrap: images are drawn with replacement and every d_s is recomputed. With
few images its variance is too small by (I - 1) / I and its tails are lighter than those of
Student's t with I - 1 degrees of freedom. A factor corrects both: 1.22 for 10 images, 1.02 for 100.
The seed part is drawn from Student's t with S - 1 degrees of freedom, multiplied by `seed`, and
added.

The draws depend only on their number, the number of images and the seed. They are cached in compact
integer types, because a report uses the same draws for every arm and dataset; without the cache,
drawing took half of its time.

Differs: the textbook bootstrap draws the S seeds with replacement. Its variance is too small by
(S - 1) / S, it has only three distinct values with two seeds, and it ignores that a spread
estimated from two or three numbers is uncertain; Student's t accounts for that. In simulations over
a wide range of variances and 20 to 500 images, 95 % intervals cover 93-97 % with five seeds,
91-98 % with three and 86-98 % with two (`benchmarks/paired_statistics.py --calibration`). The
textbook bootstrap covers 90, 85 and 80 % where the seed variance dominates. Very skewed
(exponential) differences on 20 images lose another one or two percent.

Source: Owen, Annals of Applied Statistics 2007 (crossed effects); Hesterberg, The American
Statistician 2015 (small samples, Student's t and the factor).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from lico_bench.checks import check_count
from lico_bench.errors import InvalidInputError

Floats = NDArray[np.float64]
Drawn = NDArray[np.unsignedinteger[Any]]

RESAMPLES = 10_000  # the ends of a 95 % interval vary by 1 % of its half-width between seeds
CACHE_BYTES = 2**28  # limit of the cache size
_CHUNK = 2**22  # weights yielded at once: 16 MiB in single precision
_DRAW_CHUNK = 2**17  # draws made at once: fits into a core's cache, which halves the time
# The eight signs encoded in a byte, highest bit first.
_SIGNS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32) * 2 - 1

_cache: OrderedDict[Hashable, list[Drawn]] = OrderedDict()
_lock = Lock()  # reports compare in several threads


@dataclass(frozen=True)
class Estimates:
    """Means of C columns and their uncertainty; NaN where it cannot be estimated.

    Attributes:
        mean: (C,) mean over seeds of the means over images.
        low, high: (C,) ends of the interval; NaN with fewer than two images.
        seed_part: (C,) standard error due to the seeds; NaN with one seed.
        image_part: (C,) standard error due to the images.
        per_seed: (S, C) mean of each seed.
        num_images: (C,) images with a value under at least one seed.
        num_seeds: (C,) seeds with at least one value.
    """

    mean: Floats
    low: Floats
    high: Floats
    seed_part: Floats
    image_part: Floats
    per_seed: Floats
    num_images: NDArray[np.int64]
    num_seeds: NDArray[np.int64]


def two_level(
    values: Floats, *, interval: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Estimates:
    """Return the mean over seeds and images of each column, with its interval.

    Args:
        values: (S, I, C) float64; NaN where there is no value.
        interval: nominal coverage in (0, 1).
        resamples: number of bootstrap draws, at least 100.
        seed: seed of the draws; equal input gives equal output.

    Raises:
        InvalidInputError: for a wrong shape, an infinite value or an interval outside (0, 1).
    """
    _check(values, interval, resamples)
    num_seeds, _, num_columns = values.shape
    summary = np.full((5, num_columns), np.nan)
    per_seed = np.full((num_seeds, num_columns), np.nan)
    counts = np.zeros((2, num_columns), dtype=np.int64)
    tail = (1 - interval) / 2
    for seeds, columns, block in complete_blocks(values):
        num_used, num_images, _ = block.shape
        counts[:, columns] = [[num_images], [num_used]]
        by_seed = nan_mean(block, 1)
        mean = by_seed.mean(0)
        per_seed[np.ix_(seeds, columns)], summary[0, columns] = by_seed, mean
        if num_images < 2:
            continue
        seed_part, image_part = _parts(block, by_seed)
        draws = _image_draws(block - by_seed[:, None], resamples=resamples, seed=seed)
        draws *= _expansion(num_images, tail)
        if num_used > 1:
            draws += seed_part * student_draws(num_used - 1, resamples, seed)[:, None]
        low, high = mean + np.quantile(draws, [tail, 1 - tail], axis=0)
        summary[1:, columns] = low, high, seed_part, image_part
    mean, low, high, seed_part, image_part = summary
    return Estimates(mean, low, high, seed_part, image_part, per_seed, counts[0], counts[1])


def nan_mean(values: Floats, axis: int) -> Floats:
    """Return the mean of the values that are not NaN; NaN without any, unlike numpy in silence."""
    with np.errstate(invalid="ignore"):
        means: Floats = np.nansum(values, axis) / np.isfinite(values).sum(axis)
    return means


def student_draws(freedom: int, resamples: int, seed: int) -> Floats:
    """Return evenly spaced quantiles of Student's t in random order.

    Random draws of a heavy-tailed distribution would add noise.
    """
    quantiles = stdtrit(freedom, (np.arange(resamples) + 0.5) / resamples)
    return np.random.default_rng([seed, freedom, 1]).permutation(quantiles)


def complete_blocks(
    values: Floats,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Floats]]:
    """Yield groups of columns with values at the same seeds and images, which share their draws.

    Each group is a tuple of the indices of its seeds and of its columns, and its values without
    empty seeds and images. Columns without any value are left out.
    """
    present = np.isfinite(values)
    packed = np.packbits(present.reshape(-1, present.shape[2]), axis=0)
    groups: dict[bytes, list[int]] = {}
    for column in np.flatnonzero(present.any((0, 1))):
        groups.setdefault(packed[:, column].tobytes(), []).append(column)
    for columns in map(np.array, groups.values()):
        has_value = present[:, :, columns[0]]
        seeds, images = np.flatnonzero(has_value.any(1)), np.flatnonzero(has_value.any(0))
        yield seeds, columns, values[np.ix_(seeds, images, columns)]


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


def _expansion(num_images: int, tail: float) -> float:
    """Return the factor that widens the image draws; it tends to 1 for many images."""
    ratio = float(stdtrit(num_images - 1, 1 - tail) / ndtri(1 - tail))
    return ratio * float(np.sqrt(num_images / (num_images - 1)))


def _parts(block: Floats, per_seed: Floats) -> tuple[Floats, Floats]:
    """Return the standard errors (C,) of the seed level and of the image level."""
    num_seeds, num_images, num_columns = block.shape
    counts = np.isfinite(block).sum(1)
    shares = np.nan_to_num(block - per_seed[:, None]) / counts[:, None]
    common = shares.mean(0)
    image_part = np.sqrt((common**2).sum(0) * num_images / (num_images - 1))
    if num_seeds == 1:
        return np.full(num_columns, np.nan), image_part
    noise = ((shares - common) ** 2).sum((0, 1)) / (num_seeds - 1)
    variance = np.maximum(0.0, per_seed.var(0, ddof=1) - noise)
    return np.sqrt(variance / num_seeds), image_part


def _image_draws(deviations: Floats, *, resamples: int, seed: int) -> Floats:
    """Return the deviation from the mean in each draw of images, (R, C)."""
    _, num_images, num_columns = deviations.shape
    present = np.isfinite(deviations[:, :, 0])
    is_complete = bool(present.all())
    # All seeds that have the same images can be averaged first.
    shares = deviations.mean(0, keepdims=True) if is_complete else np.nan_to_num(deviations)
    # Centred values are small, so single precision is sufficient for an interval.
    flat = shares.transpose(1, 0, 2).reshape(num_images, -1).astype(np.float32)
    mask = present.T.astype(np.float32)
    out = np.empty((resamples, num_columns))
    start = 0
    for weights in image_weights(num_images, resamples=resamples, seed=seed):
        stop = start + len(weights)
        sums = (weights @ flat).reshape(len(weights), len(shares), num_columns)
        counts = np.float32(num_images) if is_complete else (weights @ mask)[:, :, None]
        # A draw without any image of a seed gives a deviation of 0 for that seed.
        out[start:stop] = (sums / np.maximum(counts, 1.0)).mean(1)
        start = stop
    return out


def _check(values: Floats, interval: float, resamples: int) -> None:
    check_count("resamples", resamples, at_least=100)
    if not 0 < interval < 1:
        raise InvalidInputError(f"interval: expected a fraction between 0 and 1, got {interval}")
    if values.ndim != 3:
        raise InvalidInputError(
            f"values: expected (seeds, images, columns), got {values.shape}; "
            "add an axis for one column with values[..., None]"
        )
    if np.isinf(values).any():
        raise InvalidInputError("values: expected finite numbers or NaN, got infinity")


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
