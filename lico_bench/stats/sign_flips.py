"""Sign-flip test of paired differences, McNemar's exact test for hits, and corrections.

The first two test whether these trainings differ on new images; `stats.crossed` tests whether new
trainings do.

Under the null hypothesis an image's difference d_i is as likely as -d_i. So the sign of each image
is flipped at random; all seeds of an image flip together, because they were tested on the same
image. With c_i the share of image i in the mean over seeds of the means over images, d = sum_i c_i
and random signs e_i,

    p_images = share of the draws with |sum_i e_i c_i| >= |d|

The identity is counted as a draw, p = (1 + hits) / (1 + draws), so the test keeps its level. If
there are at most as many sign patterns as draws, all patterns are used and `p_images` is exact.
Draws give no p below 1 / (1 + draws); for large differences Hoeffding's bound is used instead:

    p <= 2 exp(-d^2 / (2 sum_i c_i^2))

For hits and one seed `p_images` is McNemar's test (Monte Carlo for many images).

McNemar's exact test uses the images on which the two arms differ:

    p_s = min(1, 2 * P(B <= min(won, lost))),  B ~ Binomial(won + lost, 1/2)      each seed
    p   = min(1, S * min_s p_s)                                                   all S seeds

All seeds are tested on the same images, so their tests are not independent and their counts cannot
be added: an image that five trainings get right would count five times. Bonferroni's bound holds
under any dependence. A small p means that some of these trainings differ on hits. The maximum of
p_s would require every training to be significant by itself, which gets harder with each added
seed.

Source: Fisher, The Design of Experiments 1935, section 21 (sign flips); Phipson and Smyth,
Statistical Applications in Genetics and Molecular Biology 2010 (counting the identity);
Hoeffding, Journal of the American Statistical Association 1963 (the bound); McNemar, Psychometrika
1947; exact form: Fay, The R Journal 2010.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from lico_bench.checks import check_count
from lico_bench.errors import InvalidInputError
from lico_bench.stats.bootstrap import RESAMPLES, Floats, complete_blocks
from lico_bench.stats.draw_cache import image_signs

_CHUNK = 2**22  # signs in memory at once: 16 MiB
# Sums of I float32 numbers of size r have an error of about eps * I * r; closer draws are ties.
_TIE = 4 * float(np.finfo(np.float32).eps)


def sign_flip_test(differences: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Return the two-sided p-value of each column, (C,); NaN with fewer than two images.

    Args:
        differences: (S, I, C) float64; NaN for missing values.
        resamples: number of random sign patterns, at least 100.
        seed: seed of the draws; equal input gives equal output.
    """
    check_count("resamples", resamples, at_least=100)
    p_values = np.full(differences.shape[2], np.nan)
    for _, columns, block in complete_blocks(differences):
        if block.shape[1] > 1:
            p_values[columns] = _flip(block, resamples, seed)
    return p_values


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


def false_discovery(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return the q-values of Benjamini and Hochberg, which control the false-discovery rate.

    Args:
        p_values: (N,) in [0, 1]; NaN for no test, which stays NaN and is not counted.

    Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B 1995.
    """
    values = np.asarray(p_values, dtype=np.float64)
    q_values = np.full(len(values), np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    descending = tested[np.argsort(-values[tested], kind="stable")]
    factors = len(tested) / np.arange(len(tested), 0, -1)
    q_values[descending] = np.minimum(1, np.minimum.accumulate(factors * values[descending]))
    return q_values


def _flip(block: Floats, resamples: int, seed: int) -> Floats:
    """Return the p-values of columns with the same missing values."""
    present = np.isfinite(block[:, :, 0])
    counts = present.sum(1)
    # Scaled by the number of values, so that shares of hits stay integers.
    by_seed = present * (counts.mean() / counts)[:, None]
    shares = np.einsum("si,sic->ic", by_seed, np.nan_to_num(block))
    observed, squares = np.abs(shares.sum(0)), (shares**2).sum(0)
    ties = _TIE * np.sqrt(len(shares) * squares)
    flat = shares.astype(np.float32)
    reached, total = np.zeros(len(observed)), 0
    for signs in _signs(len(flat), flat.shape[1], resamples, seed):
        reached += (np.abs((signs @ flat).astype(np.float64)) >= observed - ties).sum(0)
        total += len(signs)
    if 2 ** len(shares) <= resamples:
        return reached / total
    with np.errstate(invalid="ignore"):
        # Without any difference the bound is 1.
        bound = np.minimum(1.0, 2 * np.exp(-np.nan_to_num(observed**2 / (2 * squares))))
    p_values: Floats = np.minimum((1 + reached) / (1 + total), bound)
    return p_values


def _signs(
    num_images: int, num_columns: int, total: int, seed: int
) -> Iterator[NDArray[np.float32]]:
    """Yield blocks (r, I) of `total` random sign patterns, or of every pattern if they are few."""
    rows = max(1, _CHUNK // max(num_images, num_columns))
    if 2**num_images > total:
        yield from image_signs(num_images, resamples=total, rows=rows, seed=seed)
        return
    numbers = np.arange(2**num_images)[:, None]
    signs = ((numbers >> np.arange(num_images)) % 2 * 2 - 1).astype(np.float32)
    yield from np.split(signs, range(rows, len(signs), rows))
