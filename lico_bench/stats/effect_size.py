"""How large a difference is, measured by how much it varies between images."""

from __future__ import annotations

import numpy as np

from lico_bench.stats.bootstrap import Floats

# Scores are computed in float32: a spread below that is rounding.
_NO_SPREAD = 1e-6


def standardised_effect(differences: Floats) -> Floats:
    """Mean over standard deviation of the images' seed-averaged differences, (C,).

    Args:
        differences: (S, I, C); NaN where there is no value.

    Returns:
        Cohen's d_z of each column; 0 where all differences are 0, NaN where they are all alike but
        not 0, and with fewer than two images.

    Source: Lakens, Frontiers in Psychology 2013, eq. 6.
    Differs: averages over seeds first, so that the noise of one training is not counted as spread
    between images.
    """
    present = np.isfinite(differences)
    counts = present.sum(0)
    by_image = np.where(present, differences, 0.0).sum(0) / np.maximum(counts, 1)
    is_there = counts > 0
    num_images = is_there.sum(0)
    mean = by_image.sum(0) / np.maximum(num_images, 1)
    squares = (np.where(is_there, by_image - mean, 0.0) ** 2).sum(0)
    deviation = np.sqrt(squares / np.maximum(num_images - 1, 1))
    varies = deviation > _NO_SPREAD * np.abs(mean)
    effect: Floats = np.where(mean == 0, 0.0, np.nan)
    np.divide(mean, deviation, out=effect, where=varies)
    return np.where(num_images > 1, effect, np.nan)
