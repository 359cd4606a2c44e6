"""Tests of paired differences, and corrections for many tests.

The x_si are the differences between two arms of seed (training) s and test image i, of S seeds and
I images. Every seed is tested on the same images, so seeds and images are crossed random factors.

`crossed_tests` covers new trainings and new images, in closed form. With the means d_s of seed s,
d_i of image i and d of all, and r_si = x_si - d_s - d_i + d,

    A = var_s(d_s) / S                                  of the seeds, S - 1 degrees of freedom
    B = var_i(d_i) / I                                  of the images, I - 1
    C = sum_si r_si^2 / ((S - 1) (I - 1) S I)           of the rest, (S - 1) (I - 1)

are the shares of the three mean squares in the variance of d. Two statistics are compared with
Student's t:

    seeds      d / sqrt(A)   S - 1 degrees of freedom
    crossed    d / sqrt(V)   V = A + B - C, with V^2 / (A^2 / (S - 1) + B^2 / (I - 1) +
                             C^2 / ((S - 1) (I - 1))) degrees of freedom; where A < C, a negative
                             variance between seeds, V = B with I - 1

and the larger p-value is taken. Alone, `seeds` ignores that all seeds share their images, and
`crossed` that a variance estimated from three seeds is uncertain: at small levels they reject up to
290 and 13 times too often. The larger p-value stays within 1.5 times its level at 0.05 and at
0.0005, for 3 to 10 seeds, continuous scores and hits, and seeds that differ by up to twice what the
images explain (`benchmarks/tail_error.py`), so it bears a correction for many tests. With one seed
only `B` is left: the test covers the variation over images.

For hits, scores of 0 and 1, the variances are computed with two extra images, one won and one lost:
a sample without a lost image has no spread and yet proves little.

`sign_flip_test` and `mcnemar_exact` cover new images for these trainings. Under the null hypothesis
an image's difference d_i is as likely as -d_i. So the sign of each image is flipped at random; all
seeds of an image flip together, because they were tested on the same image. With c_i the share of
image i in the mean over seeds of the means over images, d = sum_i c_i and random signs e_i,

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

Source:
    crossed tests: Satterthwaite, Biometrics Bulletin 1946 (degrees of freedom); Clark, Journal of
    Verbal Learning and Verbal Behavior 1973 (crossed random factors); Agresti and Min, Statistics
    in Medicine 2005 (the two images); Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics
    1987 (equivalence by two one-sided tests).
    sign flips: Fisher, The Design of Experiments 1935, section 21; Phipson and Smyth, Statistical
    Applications in Genetics and Molecular Biology 2010 (counting the identity); Hoeffding, Journal
    of the American Statistical Association 1963 (the bound).
    hits: McNemar, Psychometrika 1947; exact form: Fay, The R Journal 2010.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, stdtr, stdtrit

from lico_bench.checks import check_count
from lico_bench.errors import InvalidInputError
from lico_bench.stats.bootstrap import RESAMPLES, Floats, complete_blocks, image_signs, nan_mean

BOUND_LEVEL = 0.05  # of each one-sided bound
_CHUNK = 2**22  # signs in memory at once: 16 MiB
# Sums of I float32 numbers of size r have an error of about eps * I * r; closer draws are ties.
_TIE = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class CrossedTests:
    """The two t statistics of C columns; NaN with fewer than two images.

    Attributes:
        difference: (C,) mean over seeds of the means over images.
        errors: (2, C) standard errors by seeds and by the crossed model.
        freedoms: (2, C) degrees of freedom of the two.
    """

    difference: Floats
    errors: Floats
    freedoms: Floats

    @property
    def p_value(self) -> Floats:
        """(C,) two-sided p-value of no difference."""
        zero = np.zeros_like(self.difference)
        p_value: Floats = np.minimum(1.0, 2 * np.minimum(self.p_above(zero), self.p_below(zero)))
        return p_value

    @property
    def bounds(self) -> tuple[Floats, Floats]:
        """The lower and the upper one-sided 95 % bound, each (C,)."""
        width = (stdtrit(self.freedoms, 1 - BOUND_LEVEL) * self.errors).max(0)
        return self.difference - width, self.difference + width

    def interval(self, coverage: float) -> tuple[Floats, Floats]:
        """Return the ends of the two-sided interval, each (C,); `p_value` is its complement."""
        width = (stdtrit(self.freedoms, (1 + coverage) / 2) * self.errors).max(0)
        return self.difference - width, self.difference + width

    def p_beyond(self, smallest_effects: Floats) -> Floats:
        """Return one-sided p-values (C,); a small one shows a difference beyond its effect."""
        return np.minimum(self.p_above(smallest_effects), self.p_below(-smallest_effects))

    def p_equivalent(self, smallest_effects: Floats) -> Floats:
        """Return p-values (C,); a small one shows that a difference is nearer to 0."""
        return np.maximum(self.p_above(-smallest_effects), self.p_below(smallest_effects))

    def p_above(self, bounds: Floats) -> Floats:
        """Return one-sided p-values (C,); a small one shows a difference above its bound."""
        return self._tail(bounds - self.difference)

    def p_below(self, bounds: Floats) -> Floats:
        """Return one-sided p-values (C,); a small one shows a difference below its bound."""
        return self._tail(self.difference - bounds)

    def _tail(self, excess: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            # No spread at all: the difference is known.
            statistic = np.where(excess == 0, 0.0, excess / self.errors)
        tails: Floats = stdtr(self.freedoms, statistic).max(0)
        return tails


def crossed_tests(differences: Floats, *, hits: NDArray[np.bool_] | None = None) -> CrossedTests:
    """Return the tests of the mean of each column.

    Args:
        differences: (S, I, C) float64; NaN for missing values.
        hits: (C,) whether the scores of a column are 0 or 1; all False if None.
    """
    num_columns = differences.shape[2]
    is_hit = np.zeros(num_columns, dtype=bool) if hits is None else hits
    difference = nan_mean(nan_mean(differences, 1), 0)
    errors, freedoms = np.full((2, 2, num_columns), np.nan)
    for _, columns, block in complete_blocks(differences):
        if block.shape[1] < 2:
            continue
        errors[:, columns], freedoms[:, columns] = _errors(block)
        padded = is_hit[columns]
        if padded.any():
            pair = np.full((len(block), 2, int(padded.sum())), [[1.0], [-1.0]])
            block = np.concatenate([block[:, :, padded], pair], axis=1)
            errors[:, columns[padded]], freedoms[:, columns[padded]] = _errors(block)
    return CrossedTests(difference, errors, freedoms)


def _errors(block: Floats) -> tuple[Floats, Floats]:
    """Return the standard errors and degrees of freedom of both statistics, each (2, C).

    With missing values an image counts in a seed's mean by its share of the seed's images.
    """
    num_seeds, num_images, _ = block.shape
    by_seed = nan_mean(block, 1)
    counts = np.isfinite(block).sum(1)
    shares = np.nan_to_num(block - by_seed[:, None]) / counts[:, None]
    common = shares.mean(0)
    correction = num_images / (num_images - 1)
    images = (common**2).sum(0) * correction
    if num_seeds == 1:
        error = np.sqrt(np.stack([images, images]))
        return error, np.full_like(error, num_images - 1)
    seeds = by_seed.var(0, ddof=1) / num_seeds
    rest = ((shares - common) ** 2).sum((0, 1)) * correction / ((num_seeds - 1) * num_seeds)
    squares = (
        seeds**2 / (num_seeds - 1)
        + images**2 / (num_images - 1)
        + rest**2 / ((num_seeds - 1) * (num_images - 1))
    )
    is_negative = seeds <= rest
    variance = np.where(is_negative, images, seeds + images - rest)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(is_negative, num_images - 1, variance**2 / squares)
    freedoms = np.stack([np.full_like(freedom, num_seeds - 1), freedom])
    return np.sqrt(np.stack([seeds, variance])), freedoms


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
