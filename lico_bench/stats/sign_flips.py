"""Sign-flip tests of a zero mean difference and of an effect that matters.

Under the null hypothesis an image's difference d_i is as likely as -d_i. So the sign of each image
is flipped at random; all seeds of an image flip together, because they were tested on the same
image. With c_i the share of image i in the mean over seeds of the means over images, d = sum_i c_i,
random signs e_i, and t from Student's distribution with S - 1 degrees of freedom:

    p_images      share of the draws with |sum_i e_i c_i| >= |d|
    p_value       share of the draws with |sum_i e_i c_i + seed * t| >= |d|, at least p_images
    p_equivalent  the larger of the shares with sum_i e_i (c_i + m w_i) + seed * t >= d + m
                  and with sum_i e_i (c_i - m w_i) + seed * t <= d - m

`seed` is the standard error between trainings without the part that images explain, as in
`stats.bootstrap`, so p-value and interval have the same sources of randomness. w_i is the weight of
image i in the mean (1 / I without missing values) and m the smallest effect of interest. The
identity is counted as a draw, p = (1 + hits) / (1 + draws), so the test keeps its level. If there
are at most as many sign patterns as draws, all patterns are used and `p_images` is exact.

Draws give no p below 1 / (1 + draws), which a correction for some hundred tests would raise above
any level. For large differences an upper bound is used instead, minimised over 0 < l <= 1:

    p <= 2 exp(-(l d)^2 / (2 sum_i c_i^2)) + 2 P(t >= (1 - l) |d| / seed)

Differs: a sign-flip test over trainings would flip the signs of whole seeds. It has 2^S patterns,
so five seeds never give a p below 1 / 16; Student's t uses the images as well. For hits and one
seed `p_images` is McNemar's test (Monte Carlo for many images).

Differs: for hits, p_equivalent is computed with two extra images, one won and one lost. If few
images differ, their spread is a poor estimate: 100 images without a loss do not show that fewer
than 2 % are lost, but have no spread at all. Without the two images, a test at 5 % has an error
rate of 13 % for 2 to 5 differing images.

Source: Fisher, The Design of Experiments 1935, section 21 (sign flips); Phipson and Smyth,
Statistical Applications in Genetics and Molecular Biology 2010 (counting the identity);
Hoeffding, Journal of the American Statistical Association 1963 (the bound's first term);
Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987 (two one-sided tests);
Agresti and Min, Statistics in Medicine 2005 (the two images).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from lico_bench.checks import check_count
from lico_bench.stats.bootstrap import RESAMPLES, Floats, group_by_presence, student_draws
from lico_bench.stats.draw_cache import image_signs

_CHUNK = 2**22  # signs in memory at once: 16 MiB
# Sums of I float32 numbers of size r have an error of about eps * I * r; closer draws are ties.
_TIE = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class FlipTests:
    """p-values of C columns; NaN with fewer than two images.

    Attributes:
        p_value: (C,) test of no effect under new trainings and images; images only with one seed.
        p_images: (C,) test of no effect for these trainings under new images.
        p_equivalent: (C,) test of an effect of at least the smallest effect; NaN without one.
    """

    p_value: Floats
    p_images: Floats
    p_equivalent: Floats


def sign_flip_tests(
    differences: Floats,
    *,
    seed_part: Floats,
    smallest_effects: Floats | None = None,
    hits: NDArray[np.bool_] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> FlipTests:
    """Return two-sided tests of no effect and of an effect that matters, for each column.

    Args:
        differences: (S, I, C) float64; NaN for missing values.
        seed_part: (C,) standard error between seeds, `Estimates.seed_part`; NaN with one seed.
        smallest_effects: (C,) > 0, in the unit of the column; NaN for none.
        hits: (C,) whether the scores of a column are 0 or 1; all False if None.
        resamples: number of random sign patterns, at least 100.
        seed: seed of the draws; equal input gives equal output.
    """
    check_count("resamples", resamples, at_least=100)
    num_columns = differences.shape[2]
    margins = np.full(num_columns, np.nan) if smallest_effects is None else smallest_effects
    are_hits = np.zeros(num_columns, dtype=bool) if hits is None else hits
    out = np.full((3, num_columns), np.nan)
    present = np.isfinite(differences)
    for columns in group_by_presence(present):
        images, seeds = present[:, :, columns[0]].any(0), present[:, :, columns[0]].any(1)
        if images.sum() < 2:
            continue
        block = differences[np.ix_(seeds, images, columns)]
        seed_error = np.nan_to_num(seed_part[columns])
        draws = _Draws(int(seeds.sum()) - 1, resamples, seed)
        out[:, columns] = _test(block, seed_error, margins[columns], draws)
        is_padded = are_hits[columns] & np.isfinite(margins[columns])
        if is_padded.any():
            padded = columns[is_padded]
            block = _add_win_and_loss(block[:, :, is_padded])
            out[2, padded] = _test(block, seed_error[is_padded], margins[padded], draws)[2]
    return FlipTests(*out)


class _Draws(NamedTuple):
    freedom: int  # degrees of freedom, number of seeds - 1
    resamples: int
    seed: int


def _add_win_and_loss(block: Floats) -> Floats:
    """Append two images with the differences 1 and -1 under every seed."""
    num_seeds, _, num_columns = block.shape
    extra = np.broadcast_to(np.array([1.0, -1.0])[:, None], (num_seeds, 2, num_columns))
    return np.concatenate([block, extra], axis=1)


def _shares(block: Floats) -> tuple[Floats, Floats]:
    """Return c (I, C) and w (I,), scaled by the number of values so that hits stay integers."""
    present = np.isfinite(block)
    counts = present[:, :, 0].sum(1)
    weights = present[:, :, 0] * (counts.mean() / counts)[:, None]
    shares = np.einsum("si,sic->ic", weights, np.where(present, block, 0.0))
    return shares, weights.sum(0)


def _test(block: Floats, seed_error: Floats, margins: Floats, draws: _Draws) -> Floats:
    """Return (p_value, p_images, p_equivalent), (3, C), of columns with the same missing values."""
    shares, weights = _shares(block)
    counts, total = _count(shares, weights, seed_error, margins, draws)
    p_images, p_both, p_below, p_above = (1 + counts) / (1 + total)
    p_images = np.minimum(p_images, _bound(shares, np.zeros_like(seed_error), 0))
    p_both = np.minimum(p_both, _bound(shares, seed_error * weights.sum(), draws.freedom))
    if _is_exhaustive(len(shares), draws):
        p_images = counts[0] / total
    # More randomness cannot lower a p-value; seeds that break ties would give that.
    p_value = np.maximum(p_both, p_images) if draws.freedom else p_images
    p_equivalent = np.where(np.isnan(margins), np.nan, np.maximum(p_below, p_above))
    return np.stack([p_value, p_images, p_equivalent])


def _count(
    shares: Floats, weights: Floats, seed_error: Floats, margins: Floats, draws: _Draws
) -> tuple[Floats, int]:
    """Return how many draws reach the observed difference, (4, C), and the number of draws.

    The four counts are for images only, both levels, the lower and the upper margin.
    """
    size, observed = weights.sum(), shares.sum(0)
    slack = _TIE * np.sqrt(len(shares))
    ties = slack * np.linalg.norm(shares, axis=0)
    margin_ties = ties + slack * np.linalg.norm(weights) * margins
    flat = np.column_stack([shares, weights]).astype(np.float32)
    counts = np.zeros((4, len(observed)))
    total = 0
    for signs, students in _sign_draws(flat.shape, draws):
        flipped = (signs @ flat).astype(np.float64)
        by_images, unit = flipped[:, :-1], flipped[:, -1:]
        by_both = by_images + students[:, None] * (seed_error * size)
        counts += [
            (np.abs(by_images) >= np.abs(observed) - ties).sum(0),
            (np.abs(by_both) >= np.abs(observed) - ties).sum(0),
            (by_both + unit * margins >= observed + size * margins - margin_ties).sum(0),
            (by_both - unit * margins <= observed - size * margins + margin_ties).sum(0),
        ]
        total += len(signs)
    return counts, total


def _bound(shares: Floats, seed_error: Floats, freedom: int) -> Floats:
    """Return an upper bound of the two-sided p-values, (C,), small for large differences."""
    observed = np.abs(shares.sum(0))
    squares = (shares**2).sum(0)
    image_part = np.linspace(0.05, 1, 20)[:, None] * observed
    # Without a seed error its tail is 0; without any difference the bound is 1.
    exponents = np.divide(
        image_part**2, 2 * squares, out=np.zeros_like(image_part), where=squares > 0
    )
    seed_part = np.full_like(image_part, np.inf)
    np.divide(observed - image_part, seed_error, out=seed_part, where=seed_error > 0)
    seed_tail = stdtr(freedom, -seed_part) if freedom else 0.0
    bound: Floats = (2 * np.exp(-exponents) + 2 * seed_tail).min(0)
    return np.minimum(bound, 1.0)


def _is_exhaustive(num_images: int, draws: _Draws) -> bool:
    return bool(2**num_images <= draws.resamples)


def _sign_draws(
    shape: tuple[int, ...], draws: _Draws
) -> Iterator[tuple[NDArray[np.float32], Floats]]:
    """Yield signs (r, I) and draws of Student's t (r,) for `shape` = (I, columns)."""
    num_images, num_columns = shape
    rows = max(1, _CHUNK // max(num_images, num_columns))
    if _is_exhaustive(num_images, draws):
        total = draws.resamples // 2**num_images * 2**num_images
        blocks = _all_signs(num_images, total, rows)
    else:
        total = draws.resamples
        blocks = image_signs(num_images, resamples=total, rows=rows, seed=draws.seed)
    students = student_draws(draws.freedom, total, draws.seed) if draws.freedom else np.zeros(total)
    start = 0
    for signs in blocks:
        yield signs, students[start : start + len(signs)]
        start += len(signs)


def _all_signs(num_images: int, total: int, rows: int) -> Iterator[NDArray[np.float32]]:
    """Yield all sign patterns, repeated to `total` rows, in blocks of about `rows`."""
    numbers = np.arange(2**num_images)[:, None]
    patterns = ((numbers >> np.arange(num_images)) % 2 * 2 - 1).astype(np.float32)
    repeats = total // len(patterns)
    step = max(1, rows // len(patterns))
    for start in range(0, repeats, step):
        yield np.tile(patterns, (min(step, repeats - start), 1))
