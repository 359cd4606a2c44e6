"""McNemar's exact test for hits: of the images on which the arms disagree, who wins how many.

    p_s = min(1, 2 * P(B <= min(won, lost))),  B ~ Binomial(won + lost, 1/2)      each seed
    p   = min(1, S * min_s p_s)                                                   all S seeds

The same images stand under every seed, so the seeds' tests are not independent and their counts
cannot be added: an image that five trainings get right would count five times. Bonferroni's bound
holds whatever the dependence. A small p says that some of these trainings differ on hits, not that
the next training will; `p_value` of `stats.sign_flips` speaks of that. The largest p_s would ask
every single training to be clear by itself, which grows harder with every seed one adds.

Source: McNemar, Psychometrika 1947; exact form: Fay, The R Journal 2010.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from lico_bench.stats.bootstrap import Floats


def mcnemar_exact(ours: Floats, theirs: Floats) -> Floats:
    """Two-sided p-value of each column of hits, (C,); NaN for other columns.

    Args:
        ours, theirs: (S, I, C) of the two arms, NaN at the same places. NaN comes out for fewer
            than two images too.
    """
    won, lost = ((theirs > ours).sum(1), (theirs < ours).sum(1))
    of_seeds = np.minimum(1.0, 2 * bdtr(np.minimum(won, lost), won + lost, 0.5))
    present = np.isfinite(ours)
    # A seed without a value is no test.
    num_seeds = present.any(1).sum(0)
    together = np.minimum(1.0, num_seeds * of_seeds.min(0))
    is_test = are_hits(ours, theirs) & (present.any(0).sum(0) > 1)
    return np.where(is_test, together, np.nan)


def are_hits(ours: Floats, theirs: Floats) -> NDArray[np.bool_]:
    """Whether all values of a column are 0 or 1 in both arms, (C,); False without any."""
    missing = np.isnan(ours)
    fits = [missing | (values == 0) | (values == 1) for values in (ours, theirs)]
    columns: NDArray[np.bool_] = (fits[0] & fits[1]).all((0, 1)) & ~missing.all((0, 1))
    return columns
