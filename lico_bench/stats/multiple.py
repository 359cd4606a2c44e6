"""Correction of p-values for multiple tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lico_bench.errors import InvalidInputError


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
