"""How sure two means are of each other: images, trainings, and the margin that follows.

With I images, R trainings of the reference and r of the run, the loss has three parts of error:

    image_reference, image_run            standard errors that come from the images, I - 1 degrees
                                          of freedom each
    spread * sqrt(1 / R + 1 / r)          from the trainings, R + r - 2 degrees of freedom

`spread` is the standard deviation between the means of single trainings, pooled over both sides. A
run of one training thus has the noise between trainings that the reference knows of; where neither
side has two trainings that part is missing, and `covers_seeds` says so. With t_k as the quantile of
Student's t with the degrees of freedom of part k, a one-sided bound lies

    reach = sqrt(sum_k (t_k * error_k)^2)

from the loss. Welch's single number of degrees of freedom would do for 95 %, but not far out, where
Holm's correction looks: with three trainings it called five times too many scores worse, because a
spread that is small by chance makes the images' many degrees of freedom count.

The images are taken as independent, as if each side had drawn its own, and the spread of single
means holds some of their noise too. Where both sides saw the same images that is too careful: a
pass or a regression can be trusted, some undecided scores would be decided by a comparison image
by image (`gate.between_runs`).

Source: Zou and Donner, Statistics in Medicine 2008 (bounds of a sum from the bounds of its parts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.special import stdtrit

SMALLEST_MARGIN = 0.02  # of a probability or a share: less is no change that anyone acts on
_SMALLEST_P = 1e-12
_ATOL_LOG_P = 1e-5


@dataclass(frozen=True)
class MeanFacts:
    """What is known of a mean.

    Attributes:
        image_error: standard error that comes from the images, >= 0.
        seed_spread: standard deviation between the means of single trainings; NaN with one.
    """

    image_error: float
    seed_spread: float
    num_images: int
    num_seeds: int


@dataclass(frozen=True)
class LossError:
    """The uncertainty of a loss.

    Attributes:
        parts: standard error and degrees of freedom of each independent part.
        covers_seeds: False where nothing is known of what another training would give.
    """

    parts: tuple[tuple[float, int], ...]
    covers_seeds: bool

    def reach(self, confidence: float) -> float:
        """How far a one-sided bound of this confidence in [0.5, 1) lies from the loss."""
        return math.hypot(*(float(stdtrit(free, confidence)) * e for e, free in self.parts if e))

    def p_no_loss(self, loss: float) -> float:
        """One-sided p-value of the hypothesis that there is no loss: where a bound meets zero."""
        size = abs(loss)
        if size == 0:
            return 0.5 if self.reach(0.95) else 1.0
        if self.reach(1 - _SMALLEST_P) <= size:
            p_value = _SMALLEST_P
        else:
            # Over the logarithm, because tails of few degrees of freedom are long.
            p_value = math.exp(
                brentq(
                    lambda log_p: self.reach(1 - math.exp(log_p)) - size,
                    math.log(_SMALLEST_P),
                    math.log(0.5),
                    xtol=_ATOL_LOG_P,
                )
            )
        return p_value if loss > 0 else 1 - p_value


def loss_error(reference: MeanFacts, run: MeanFacts) -> LossError:
    """The uncertainty of reference minus run; each side needs two images."""
    free = reference.num_seeds + run.num_seeds - 2
    parts = [
        (reference.image_error, reference.num_images - 1),
        (run.image_error, run.num_images - 1),
    ]
    if free:
        sides = [side for side in (reference, run) if side.num_seeds > 1]
        squares = sum((side.num_seeds - 1) * side.seed_spread**2 for side in sides)
        per_mean = 1 / reference.num_seeds + 1 / run.num_seeds
        parts.append((math.sqrt(squares / free * per_mean), free))
    return LossError(tuple(parts), covers_seeds=free > 0)


def default_margin(facts: MeanFacts, *, confidence: float = 0.95) -> float:
    """Twice the reach of a bound, once for the bound and once for the draw, at least 0.02.

    With it an equal model of one training on as many images passes in about 95 of 100 checks.
    Rounded up to a hundredth.
    """
    one_training = MeanFacts(facts.image_error, math.nan, facts.num_images, 1)
    reach = loss_error(facts, one_training).reach(confidence)
    # The slack keeps 0.05 from becoming 0.06 by a last bit.
    return max(SMALLEST_MARGIN, math.ceil(100 * 2 * reach - 1e-6) / 100)
