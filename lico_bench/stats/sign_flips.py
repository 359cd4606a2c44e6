"""How surely a mean difference is not zero, or not as large as matters, by turning signs around.

If the arms were alike, an image's difference d_i would be as likely to come out as -d_i. So the
sign of each image is flipped at random; the seeds of an image flip together, for they saw the
same image. With c_i the share of image i in the mean over seeds of the means over images,
d = sum_i c_i, random signs e_i, and t of Student's distribution with S - 1 degrees of freedom:

    p_images      share of the draws with |sum_i e_i c_i| >= |d|
    p_value       share of the draws with |sum_i e_i c_i + seed * t| >= |d|, at least p_images
    p_equivalent  the larger of the shares with sum_i e_i (c_i + m w_i) + seed * t >= d + m
                  and with sum_i e_i (c_i - m w_i) + seed * t <= d - m

`seed` is the standard error between trainings, freed of what images alone explain, as in
`stats.bootstrap`, so that p-value and interval take the same things as random. w_i is the weight of
image i in the mean (1 / I where nothing is missing) and m the smallest effect of interest. The
draw that turns nothing counts as one of them, p = (1 + hits) / (1 + draws), which keeps the level
exactly; where all sign patterns fit into the draws, each is taken once and `p_images` is exact.

Draws alone can give no p below 1 / (1 + draws), which a correction for some hundred tests would
lift above every level. Far out a bound takes over that no draw is needed for, over 0 < l <= 1:

    p <= 2 exp(-(l d)^2 / (2 sum_i c_i^2)) + 2 P(t >= (1 - l) |d| / seed)

Differs: a sign-flip test over the trainings would turn the signs of whole seeds. It has 2^S
patterns, so that five seeds can never give less than 1 / 16; with Student's t the images speak
too. For hits and one seed `p_images` is McNemar's test (Monte Carlo where images are many).

Differs: for hits p_equivalent is computed with two more images, one won and one lost. Where few
images differ, their spread is a poor guess: 100 images without a single lost one do not show
that less than 2 % are lost, but have no spread at all. Without the two, a test at 5 % errs in 13 %
of the cases that have 2 to 5 images to differ on.

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
from lico_bench.stats.bootstrap import RESAMPLES, Floats, alike, student_draws
from lico_bench.stats.draw_cache import image_signs

_CHUNK = 2**22  # signs held at once: 16 MiB of numbers
# Sums of I float32 numbers of size r err by about eps * I * r; draws that close are ties.
_TIE = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class FlipTests:
    """p-values of C columns; NaN with fewer than two images.

    Attributes:
        p_value: (C,) no effect, trainings and images drawn anew; the images alone with one seed.
        p_images: (C,) no effect for these trainings, images drawn anew.
        p_equivalent: (C,) an effect at least as large as matters; NaN where that is not given.
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
    """Two-sided tests of no effect, and of an effect that matters, each column by itself.

    Args:
        differences: (S, I, C) float64; NaN where there is no value.
        seed_part: (C,) standard error between seeds, `Estimates.seed_part`; NaN with one seed.
        smallest_effects: (C,) > 0, in the columns' unit; NaN where none is declared.
        hits: (C,) whether a column's scores are 0 or 1; none where left out.
        resamples: random sign patterns.
        seed: of the draws; equal input gives equal output.
    """
    check_count("resamples", resamples, at_least=100)
    num_columns = differences.shape[2]
    margins = np.full(num_columns, np.nan) if smallest_effects is None else smallest_effects
    are_hits = np.zeros(num_columns, dtype=bool) if hits is None else hits
    out = np.full((3, num_columns), np.nan)
    present = np.isfinite(differences)
    for columns in alike(present):
        images, seeds = present[:, :, columns[0]].any(0), present[:, :, columns[0]].any(1)
        if images.sum() < 2:
            continue
        block = differences[np.ix_(seeds, images, columns)]
        spread = np.nan_to_num(seed_part[columns])
        draws = _Draws(int(seeds.sum()) - 1, resamples, seed)
        out[:, columns] = _test(block, spread, margins[columns], draws)
        padded = are_hits[columns] & np.isfinite(margins[columns])
        if padded.any():
            few = columns[padded]
            block = _with_won_and_lost(block[:, :, padded])
            out[2, few] = _test(block, spread[padded], margins[few], draws)[2]
    return FlipTests(*out)


class _Draws(NamedTuple):
    freedom: int  # seeds less one
    resamples: int
    seed: int


def _with_won_and_lost(block: Floats) -> Floats:
    """The images and two more, on which each arm wins once under every seed."""
    num_seeds, _, num_columns = block.shape
    ends = np.broadcast_to(np.array([1.0, -1.0])[:, None], (num_seeds, 2, num_columns))
    return np.concatenate([block, ends], axis=1)


def _shares(block: Floats) -> tuple[Floats, Floats]:
    """Shares c (I, C) and w (I,) times the number of values: hits stay whole numbers."""
    present = np.isfinite(block)
    counts = present[:, :, 0].sum(1)
    weights = present[:, :, 0] * (counts.mean() / counts)[:, None]
    shares = np.einsum("si,sic->ic", weights, np.where(present, block, 0.0))
    return shares, weights.sum(0)


def _test(block: Floats, spread: Floats, margins: Floats, draws: _Draws) -> Floats:
    """Three rows (p_value, p_images, p_equivalent) of columns with values at the same places."""
    shares, weights = _shares(block)
    counts, total = _count(shares, weights, spread, margins, draws)
    p_images, p_both, p_below, p_above = (1 + counts) / (1 + total)
    p_images = np.minimum(p_images, _bound(shares, np.zeros_like(spread), 0))
    p_both = np.minimum(p_both, _bound(shares, spread * weights.sum(), draws.freedom))
    if _is_every_sign_drawn(len(shares), draws):
        p_images = counts[0] / total
    # Two sources of chance cannot make surer than one; seeds that break ties would say so.
    p_value = np.maximum(p_both, p_images) if draws.freedom else p_images
    p_equivalent = np.where(np.isnan(margins), np.nan, np.maximum(p_below, p_above))
    return np.stack([p_value, p_images, p_equivalent])


def _count(
    shares: Floats, weights: Floats, spread: Floats, margins: Floats, draws: _Draws
) -> tuple[Floats, int]:
    """How many draws reach what was found, (4, C): images, both levels, either margin; of all."""
    size, found = weights.sum(), shares.sum(0)
    slack = _TIE * np.sqrt(len(shares))
    ties = slack * np.linalg.norm(shares, axis=0)
    margin_ties = ties + slack * np.linalg.norm(weights) * margins
    flat = np.column_stack([shares, weights]).astype(np.float32)
    counts = np.zeros((4, len(found)))
    total = 0
    for signs, students in _sign_draws(flat.shape, draws):
        turned = (signs @ flat).astype(np.float64)
        of_images, unit = turned[:, :-1], turned[:, -1:]
        of_both = of_images + students[:, None] * (spread * size)
        counts += [
            (np.abs(of_images) >= np.abs(found) - ties).sum(0),
            (np.abs(of_both) >= np.abs(found) - ties).sum(0),
            (of_both + unit * margins >= found + size * margins - margin_ties).sum(0),
            (of_both - unit * margins <= found - size * margins + margin_ties).sum(0),
        ]
        total += len(signs)
    return counts, total


def _bound(shares: Floats, spread: Floats, freedom: int) -> Floats:
    """What the two-sided p-values (C,) cannot exceed; far out it is small where draws are few."""
    found = np.abs(shares.sum(0))
    squares = (shares**2).sum(0)
    reaches = np.linspace(0.05, 1, 20)[:, None] * found
    # Without spread or without a difference: no chance at all, and chance only.
    sizes = np.divide(reaches**2, 2 * squares, out=np.zeros_like(reaches), where=squares > 0)
    rest = np.full_like(reaches, np.inf)
    np.divide(found - reaches, spread, out=rest, where=spread > 0)
    of_seeds = stdtr(freedom, -rest) if freedom else 0.0
    bound: Floats = (2 * np.exp(-sizes) + 2 * of_seeds).min(0)
    return np.minimum(bound, 1.0)


def _is_every_sign_drawn(num_images: int, draws: _Draws) -> bool:
    return bool(2**num_images <= draws.resamples)


def _sign_draws(
    shape: tuple[int, ...], draws: _Draws
) -> Iterator[tuple[NDArray[np.float32], Floats]]:
    """Signs (r, I) of I images and draws of Student's t (r,), for C columns at a time."""
    num_images, num_columns = shape
    rows = max(1, _CHUNK // max(num_images, num_columns))
    if _is_every_sign_drawn(num_images, draws):
        total = draws.resamples // 2**num_images * 2**num_images
        blocks = _every_sign(num_images, total, rows)
    else:
        total = draws.resamples
        blocks = image_signs(num_images, resamples=total, rows=rows, seed=draws.seed)
    students = student_draws(draws.freedom, total, draws.seed) if draws.freedom else np.zeros(total)
    start = 0
    for signs in blocks:
        yield signs, students[start : start + len(signs)]
        start += len(signs)


def _every_sign(num_images: int, total: int, rows: int) -> Iterator[NDArray[np.float32]]:
    """Each pattern equally often, about `rows` at a time."""
    numbers = np.arange(2**num_images)[:, None]
    every = ((numbers >> np.arange(num_images)) % 2 * 2 - 1).astype(np.float32)
    times = total // len(every)
    step = max(1, rows // len(every))
    for start in range(0, times, step):
        yield np.tile(every, (min(step, times - start), 1))
