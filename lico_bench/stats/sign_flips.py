"""Sign-flip tests of paired differences, McNemar's exact test for hits, and Holm's correction.

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

McNemar's exact test uses the images on which the two arms differ:

    p_s = min(1, 2 * P(B <= min(won, lost))),  B ~ Binomial(won + lost, 1/2)      each seed
    p   = min(1, S * min_s p_s)                                                   all S seeds

All seeds are tested on the same images, so their tests are not independent and their counts cannot
be added: an image that five trainings get right would count five times. Bonferroni's bound holds
under any dependence. A small p means that some of these trainings differ on hits, not that the next
training will; that is tested by `p_value`. The maximum of p_s would require every training to be
significant by itself, which gets harder with each added seed.

Source: Fisher, The Design of Experiments 1935, section 21 (sign flips); Phipson and Smyth,
Statistical Applications in Genetics and Molecular Biology 2010 (counting the identity);
Hoeffding, Journal of the American Statistical Association 1963 (the bound's first term);
Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987 (two one-sided tests);
Agresti and Min, Statistics in Medicine 2005 (the two images); McNemar, Psychometrika 1947; exact
form: Fay, The R Journal 2010.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, stdtr

from lico_bench.checks import check_count
from lico_bench.errors import InvalidInputError
from lico_bench.stats.bootstrap import (
    RESAMPLES,
    Floats,
    complete_blocks,
    image_signs,
    student_draws,
)

_CHUNK = 2**22  # signs in memory at once: 16 MiB
# Sums of I float32 numbers of size r have an error of about eps * I * r; closer draws are ties.
_TIE = 4 * float(np.finfo(np.float32).eps)


class FlipTests(NamedTuple):
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
    are_padded = np.isfinite(margins) & (False if hits is None else hits)
    out = np.full((3, num_columns), np.nan)
    for seeds, columns, block in complete_blocks(differences):
        if block.shape[1] < 2:
            continue
        draws = _Draws(freedom=len(seeds) - 1, resamples=resamples, seed=seed)
        seed_error = np.nan_to_num(seed_part[columns])
        out[:, columns] = _test(block, seed_error, margins[columns], draws)
        is_padded = are_padded[columns]
        if is_padded.any():
            extra = np.full((len(seeds), 2, int(is_padded.sum())), [[1.0], [-1.0]])
            block = np.concatenate([block[:, :, is_padded], extra], axis=1)
            padded = columns[is_padded]
            out[2, padded] = _test(block, seed_error[is_padded], margins[padded], draws)[2]
    return FlipTests(*out)


def mcnemar_exact(reference: Floats, arm: Floats) -> Floats:
    """Return the two-sided p-value of McNemar's test of each column of hits, (C,).

    NaN for other columns and for fewer than two images.

    Args:
        reference, arm: (S, I, C) values of the two arms, NaN at the same entries.
    """
    won, lost = (arm > reference).sum(1), (arm < reference).sum(1)
    per_seed = np.minimum(1.0, 2 * bdtr(np.minimum(won, lost), won + lost, 0.5))
    present = np.isfinite(reference)
    num_seeds = present.any(1).sum(0)  # a seed without values is not a test
    combined = np.minimum(1.0, num_seeds * per_seed.min(0))
    is_tested = are_hits(reference, arm) & (present.any(0).sum(0) > 1)
    return np.where(is_tested, combined, np.nan)


def are_hits(reference: Floats, arm: Floats) -> NDArray[np.bool_]:
    """Return whether all values of a column are 0 or 1 in both arms, (C,); False without values."""
    missing = np.isnan(reference)
    is_hit = missing | (np.isin(reference, (0, 1)) & np.isin(arm, (0, 1)))
    return np.asarray(is_hit.all((0, 1)) & ~missing.all((0, 1)))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted by Holm's method, which controls the family-wise error rate.

    Args:
        p_values: (N,) in [0, 1]; NaN for no test, which stays NaN and is not counted.

    Raises:
        InvalidInputError: for another shape or values outside [0, 1].

    Source: Holm, Scandinavian Journal of Statistics 1979. A test compares it with statsmodels,
    which is not used here because its import takes two seconds.
    """
    values = np.asarray(p_values, dtype=np.float64)
    tested = np.isfinite(values)
    is_valid = not np.isinf(values).any() and ((values >= 0) & (values <= 1))[tested].all()
    if values.ndim != 1 or not is_valid:
        raise InvalidInputError(
            f"p_values: expected a 1-D array in [0, 1] or NaN, got {values.tolist()!r:.80}; "
            "pass the p-values of one family"
        )
    adjusted = np.full(len(values), np.nan)
    ascending = np.flatnonzero(tested)[np.argsort(values[tested])]
    factors = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(1, np.maximum.accumulate(factors * values[ascending]))
    return adjusted


class _Draws(NamedTuple):
    freedom: int  # degrees of freedom, number of seeds - 1
    resamples: int
    seed: int


def _test(block: Floats, seed_error: Floats, margins: Floats, draws: _Draws) -> Floats:
    """Return (p_value, p_images, p_equivalent), (3, C), of columns with the same missing values."""
    present = np.isfinite(block[:, :, 0])
    counts = present.sum(1)
    # Scaled by the number of values, so that shares of hits stay integers.
    by_seed = present * (counts.mean() / counts)[:, None]
    shares, weights = np.einsum("si,sic->ic", by_seed, np.nan_to_num(block)), by_seed.sum(0)
    reached, total = _count(shares, weights, seed_error, margins, draws)
    p_images, p_both, p_below, p_above = (1 + reached) / (1 + total)
    p_images = np.minimum(p_images, _bound(shares, np.zeros_like(seed_error), 0))
    p_both = np.minimum(p_both, _bound(shares, seed_error * weights.sum(), draws.freedom))
    if 2 ** len(shares) <= draws.resamples:
        p_images = reached[0] / total
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
    for signs, students in _sign_draws(len(flat), flat.shape[1], draws):
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
    with np.errstate(divide="ignore", invalid="ignore"):
        # Without any difference the bound is 1.
        image_tail = np.exp(-np.nan_to_num(image_part**2 / (2 * squares)))
        seed_tail = stdtr(freedom, (image_part - observed) / seed_error)
    seed_tail = np.where(seed_error > 0, seed_tail, 0.0)
    bound: Floats = (2 * image_tail + 2 * seed_tail).min(0)
    return np.minimum(bound, 1.0)


def _sign_draws(
    num_images: int, num_columns: int, draws: _Draws
) -> Iterator[tuple[NDArray[np.float32], Floats]]:
    """Yield signs (r, I) and draws of Student's t (r,)."""
    rows = max(1, _CHUNK // max(num_images, num_columns))
    total = draws.resamples
    if 2**num_images <= total:  # all patterns, as often as they fit
        total -= total % 2**num_images
        numbers = np.resize(np.arange(2**num_images), total)
        signs = ((numbers[:, None] >> np.arange(num_images)) % 2 * 2 - 1).astype(np.float32)
        blocks = iter(np.split(signs, range(rows, total, rows)))
    else:
        blocks = image_signs(num_images, resamples=total, rows=rows, seed=draws.seed)
    students = student_draws(draws.freedom, total, draws.seed) if draws.freedom else np.zeros(total)
    start = 0
    for signs in blocks:
        yield signs, students[start : start + len(signs)]
        start += len(signs)
