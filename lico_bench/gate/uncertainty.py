"""Uncertainty of the difference of two means, and the default margin that follows from it.

With I images, R trainings of the reference and r of the run, the loss has three sources of error:

    image_reference, image_run            standard errors from the images, I - 1 degrees of freedom
                                          each
    spread * sqrt(1 / R + 1 / r)          from the trainings, R + r - 2 degrees of freedom

`spread` is the standard deviation between the means of single trainings, pooled over both sides. A
run of one training thus gets the spread of the reference; if neither side has two trainings, this
part is missing. With t_k the quantile of Student's t with the degrees
of freedom of part k, the distance of a one-sided bound from the loss is

    half_width = sqrt(sum_k (t_k * error_k)^2)

Welch's single number of degrees of freedom suffices at 95 %, but not in the far tail that Holm's
correction uses: with three trainings it found five times too many regressions, because a spread
that is small by chance gives the images' many degrees of freedom too much weight.

The images of both sides are treated as independent samples, and the spread of single means contains
part of their noise. For the same images on both sides this is conservative: a pass or a regression
is reliable, but a paired comparison (`gate.between_runs`) may decide scores that are inconclusive
here.

Source: Zou and Donner, Statistics in Medicine 2008 (bounds of a sum from the bounds of its parts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.special import stdtrit

SMALLEST_MARGIN = 0.02  # of a probability or a share; smaller changes are not relevant in practice
_SMALLEST_P = 1e-12
_ATOL_LOG_P = 1e-5


@dataclass(frozen=True)
class MeanFacts:
    """Uncertainty of a mean.

    Attributes:
        image_error: standard error from the images, >= 0.
        seed_spread: standard deviation between the means of single trainings; NaN with one.
    """

    image_error: float
    seed_spread: float
    num_images: int
    num_seeds: int


@dataclass(frozen=True)
class LossError:
    """Uncertainty of a loss.

    Attributes:
        parts: standard error and degrees of freedom of each independent part.
    """

    parts: tuple[tuple[float, int], ...]

    def half_width(self, confidence: float) -> float:
        """Return the distance of a one-sided bound from the loss; `confidence` in [0.5, 1)."""
        return math.hypot(*(float(stdtrit(dof, confidence)) * e for e, dof in self.parts if e))

    def p_no_loss(self, loss: float) -> float:
        """Return the one-sided p-value of no loss: 1 - the confidence whose bound is zero."""
        size = abs(loss)
        if size == 0:
            return 0.5 if self.half_width(0.95) else 1.0
        if self.half_width(1 - _SMALLEST_P) <= size:
            p_value = _SMALLEST_P
        else:
            # Solved for log(p), because few degrees of freedom have long tails.
            p_value = math.exp(
                brentq(
                    lambda log_p: self.half_width(1 - math.exp(log_p)) - size,
                    math.log(_SMALLEST_P),
                    math.log(0.5),
                    xtol=_ATOL_LOG_P,
                )
            )
        return p_value if loss > 0 else 1 - p_value


def loss_error(reference: MeanFacts, run: MeanFacts) -> LossError:
    """Return the uncertainty of reference minus run; each side needs two images."""
    dof = reference.num_seeds + run.num_seeds - 2
    parts = [
        (reference.image_error, reference.num_images - 1),
        (run.image_error, run.num_images - 1),
    ]
    if dof:
        sides = [side for side in (reference, run) if side.num_seeds > 1]
        squares = sum((side.num_seeds - 1) * side.seed_spread**2 for side in sides)
        per_mean = 1 / reference.num_seeds + 1 / run.num_seeds
        parts.append((math.sqrt(squares / dof * per_mean), dof))
    return LossError(tuple(parts))


def default_margin(facts: MeanFacts, *, confidence: float = 0.95) -> float:
    """Return the margin with which an equal model passes in about 95 of 100 checks.

    The model has one training, scored on as many images. The margin is twice the half-width of a
    bound (one for the bound, one for the sampling error), rounded up to a hundredth, at least 0.02.
    """
    one_training = MeanFacts(facts.image_error, math.nan, facts.num_images, 1)
    half_width = loss_error(facts, one_training).half_width(confidence)
    # The tolerance keeps rounding errors from turning 0.05 into 0.06.
    return max(SMALLEST_MARGIN, math.ceil(100 * 2 * half_width - 1e-6) / 100)
