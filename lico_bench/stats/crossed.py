"""Tests of paired differences under new trainings and new images, in closed form.

Trainings (seeds) and test images are crossed random factors: every seed is tested on the same
images. With the means d_s of seed s, d_i of image i and d of all, and r_si = x_si - d_s - d_i + d,

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

Source: Satterthwaite, Biometrics Bulletin 1946 (degrees of freedom); Clark, Journal of Verbal
Learning and Verbal Behavior 1973 (crossed random factors); Agresti and Min, Statistics in Medicine
2005 (the two images); Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987
(equivalence by two one-sided tests).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from lico_bench.stats.bootstrap import Floats, complete_blocks, nan_mean

BOUND_LEVEL = 0.05  # of each one-sided bound


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
    are_hits = np.zeros(num_columns, dtype=bool) if hits is None else hits
    difference = nan_mean(nan_mean(differences, 1), 0)
    errors, freedoms = np.full((2, 2, num_columns), np.nan)
    for _, columns, block in complete_blocks(differences):
        if block.shape[1] < 2:
            continue
        errors[:, columns], freedoms[:, columns] = _errors(block)
        padded = are_hits[columns]
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
