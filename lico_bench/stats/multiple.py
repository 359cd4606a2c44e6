"""Many tests at once: what each p-value is worth when all of them were looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lico_bench.errors import InvalidInputError


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """p-values adjusted for their number: at level a, the chance of any false find is at most a.

    Args:
        p_values: (N,) in [0, 1]; NaN where there was no test, which stays NaN and does not count.

    Raises:
        InvalidInputError: for numbers that are no p-values.

    Source: Holm, Scandinavian Journal of Statistics 1979, as in statsmodels.
    """
    values = np.asarray(p_values, dtype=np.float64)
    tested = np.isfinite(values)
    if values.ndim != 1 or np.isinf(values).any() or not _are_shares(values[tested]):
        raise InvalidInputError(
            f"p_values: expected one row of numbers in [0, 1] or NaN, got {values.tolist()!r:.80}; "
            "pass the p-values of one family"
        )
    adjusted = np.full(len(values), np.nan)
    if tested.any():
        # A second to import, which who reads one difference need not wait for.
        from statsmodels.stats.multitest import (  # type: ignore[import-untyped]  # ships none
            multipletests,
        )

        adjusted[tested] = multipletests(values[tested], method="holm")[1]
    return adjusted


def _are_shares(values: NDArray[np.float64]) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())
