"""Standardised effect size of paired differences."""

from __future__ import annotations

import numpy as np

from lico_bench.stats.bootstrap import Floats

# Relative to the mean. Scores are computed in float32; a smaller spread is rounding error.
_NO_SPREAD = 1e-6


def standardised_effect(differences: Floats) -> Floats:
    """Return mean / standard deviation of the per-image, seed-averaged differences, (C,).

    Args:
        differences: (S, I, C); NaN where there is no value.

    Returns:
        Cohen's d_z of each column; 0 if all differences are 0, NaN if they are equal but not 0 or
        there are fewer than two images.

    Source: Lakens, Frontiers in Psychology 2013, eq. 6.
    Differs: averages over seeds first, so that the noise between trainings does not add to the
    spread between images.
    """
    present = np.isfinite(differences)
    counts = present.sum(0)
    by_image = np.where(present, differences, 0.0).sum(0) / np.maximum(counts, 1)
    has_value = counts > 0
    num_images = has_value.sum(0)
    mean = by_image.sum(0) / np.maximum(num_images, 1)
    squares = (np.where(has_value, by_image - mean, 0.0) ** 2).sum(0)
    deviation = np.sqrt(squares / np.maximum(num_images - 1, 1))
    varies = deviation > _NO_SPREAD * np.abs(mean)
    effect: Floats = np.where(mean == 0, 0.0, np.nan)
    np.divide(mean, deviation, out=effect, where=varies)
    return np.where(num_images > 1, effect, np.nan)
