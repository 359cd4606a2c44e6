"""Random-effects mean of one difference over several datasets.

With the difference y_k of dataset k, its standard error s_k and w_k = 1 / (s_k^2 + tau^2), where
tau^2 solves sum_k w_k (y_k - m)^2 = K - 1 and is 0 if the sum is smaller without it:

    m                    = sum_k w_k y_k / sum_k w_k
    s^2                  = sum_k w_k (y_k - m)^2 / ((K - 1) sum_k w_k)
    interval             = m +- t(K - 1) s
    prediction interval  = m +- t(K - 2) sqrt(tau^2 + s^2)          of one more dataset
    I^2                  = max(0, 1 - (K - 1) / Q),  Q = sum_k (y_k - m_0)^2 / s_k^2

with m_0 the mean for tau = 0.

Source: Paule and Mandel, Journal of Research of the National Bureau of Standards 1982 (tau^2);
Hartung and Knapp, Statistics in Medicine 2001 (s^2 and t); Higgins, Thompson and Spiegelhalter,
Journal of the Royal Statistical Society A 2009 (prediction interval, I^2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import stdtrit

from lico_bench.errors import InvalidInputError
from lico_bench.stats.bootstrap import Floats

LEAST_DATASETS = 4  # fewer give no useful estimate of their spread


@dataclass(frozen=True)
class PooledDifference:
    """Mean over K datasets with its 95 % interval.

    Attributes:
        predicted_low, predicted_high: 95 % prediction interval of one more dataset.
        tau: standard deviation of the true differences between datasets.
        i_squared: share of the spread that is not due to the datasets' own errors, in [0, 1].
    """

    mean: float
    low: float
    high: float
    predicted_low: float
    predicted_high: float
    tau: float
    i_squared: float
    num_datasets: int


def pooled_difference(differences: ArrayLike, errors: ArrayLike) -> PooledDifference:
    """Pool the differences (K,) of at least four datasets with their standard errors (K,) > 0.

    Raises:
        InvalidInputError: for fewer datasets, other shapes, or errors that are not positive.
    """
    values, spread = np.asarray(differences, dtype=float), np.asarray(errors, dtype=float)
    count = len(values)
    is_valid = values.shape == spread.shape == (count,) and count >= LEAST_DATASETS
    if not (is_valid and np.isfinite(values).all() and (spread > 0).all()):
        raise InvalidInputError(
            f"pooling: expected at least {LEAST_DATASETS} differences with standard errors above "
            f"0, got {values.tolist()!r:.80} and {spread.tolist()!r:.80}"
        )
    variances = spread**2
    heterogeneity = _weighted_squares(0.0, values, variances)
    between = 0.0
    if heterogeneity > count - 1:
        # The sum falls in tau^2, and is below K - 1 where tau^2 is the sum of squares.
        most = float(((values - values.mean()) ** 2).sum())
        between = float(
            brentq(lambda tau2: _weighted_squares(tau2, values, variances) - (count - 1), 0.0, most)
        )
    weights = 1 / (variances + between)
    mean = float((weights * values).sum() / weights.sum())
    squares = float((weights * (values - mean) ** 2).sum())
    error = float(np.sqrt(squares / ((count - 1) * weights.sum())))
    width = float(stdtrit(count - 1, 0.975)) * error
    predicted = float(stdtrit(count - 2, 0.975) * np.sqrt(between + error**2))
    return PooledDifference(
        mean=mean,
        low=mean - width,
        high=mean + width,
        predicted_low=mean - predicted,
        predicted_high=mean + predicted,
        tau=float(np.sqrt(between)),
        i_squared=max(0.0, 1 - (count - 1) / heterogeneity) if heterogeneity > 0 else 0.0,
        num_datasets=count,
    )


def _weighted_squares(between: float, values: Floats, variances: Floats) -> float:
    weights = 1 / (variances + between)
    mean = (weights * values).sum() / weights.sum()
    return float((weights * (values - mean) ** 2).sum())
