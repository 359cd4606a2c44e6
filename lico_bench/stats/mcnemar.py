"""McNemar's exact test for hits, on the images on which the two arms differ.

    p_s = min(1, 2 * P(B <= min(won, lost))),  B ~ Binomial(won + lost, 1/2)      each seed
    p   = min(1, S * min_s p_s)                                                   all S seeds

All seeds are tested on the same images, so their tests are not independent and their counts cannot
be added: an image that five trainings get right would count five times. Bonferroni's bound holds
under any dependence. A small p means that some of these trainings differ on hits, not that the next
training will; that is tested by `p_value` of `stats.sign_flips`. The maximum of p_s would require
every training to be significant by itself, which gets harder with each added seed.

Source: McNemar, Psychometrika 1947; exact form: Fay, The R Journal 2010.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from lico_bench.stats.bootstrap import Floats


def mcnemar_exact(reference: Floats, arm: Floats) -> Floats:
    """Return the two-sided p-value of each column of hits, (C,).

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
    binary = [missing | (values == 0) | (values == 1) for values in (reference, arm)]
    columns: NDArray[np.bool_] = (binary[0] & binary[1]).all((0, 1)) & ~missing.all((0, 1))
    return columns
