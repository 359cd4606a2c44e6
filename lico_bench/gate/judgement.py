"""Judgements of single scores, and the verdict on all of them with its exit code.

Non-inferiority test: the loss is how much worse a mean is; with its one-sided 95 % bounds,

    upper bound < margin                         pass
    lower bound > margin, and Holm's p < 0.05    regression
    otherwise                                    inconclusive

Holm's p is the p-value of the hypothesis that there is no loss, corrected over all judged scores.
A score whose loss equals its margin is called a regression in at most 5 of 100 checks; models
without any loss have a regression in at most 5 of 100 checks, for any number of scores and any
margins. `pass` needs no correction, because a verdict passes only if every score passes.

With I images, R trainings of the reference and r of the run, the loss has three sources of error:

    image_reference, image_run            standard errors from the images, I - 1 degrees of freedom
                                          each
    spread * sqrt(1 / R + 1 / r)          from the trainings, R + r - 2 degrees of freedom

`spread` is the standard deviation between the means of single trainings, pooled over both sides. A
run of one training thus gets the spread of the reference; if neither side has two trainings, this
part is missing. With t_k the quantile of Student's t with the degrees of freedom of part k, the
distance of a one-sided bound from the loss is

    half_width = sqrt(sum_k (t_k * error_k)^2)

Welch's single number of degrees of freedom suffices at 95 %, but not in the far tail that Holm's
correction uses: with three trainings it found five times too many regressions, because a spread
that is small by chance gives the images' many degrees of freedom too much weight.

The images of both sides are treated as independent samples, and the spread of single means contains
part of their noise. For the same images on both sides this is conservative: a pass or a regression
is reliable, but a paired comparison (`gate.between_runs`) may decide scores that are inconclusive
here.

Source: Piaggio et al., JAMA 2012 (non-inferiority margins); Holm, Scandinavian Journal of
Statistics 1979; Zou and Donner, Statistics in Medicine 2008 (bounds of a sum from the bounds of its
parts).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import stdtrit

from lico_bench.errors import InvalidInputError
from lico_bench.number_text import signed
from lico_bench.records import MetricSpec
from lico_bench.stats import holm

Outcome = Literal["better", "pass", "regression", "inconclusive", "not_comparable"]
EXIT_CODES: dict[Outcome, int] = {
    "better": 0,
    "pass": 0,
    "regression": 1,
    "inconclusive": 3,
    "not_comparable": 4,
}
# The worst outcome of any score is the outcome of the verdict: a proven regression outweighs scores
# that could not be compared, and a verdict passes only if every score could be judged.
WORST_FIRST: tuple[Outcome, ...] = (
    "regression", "not_comparable", "inconclusive", "pass", "better",
)  # fmt: skip
FAMILYWISE_ERROR = 0.05  # largest probability of any regression among models without a loss
NO_VALUE = "–"
FINE_MARGIN = 0.01  # smaller margins and their losses are printed with two more digits
SMALLEST_MARGIN = 0.02  # of a probability or a share; smaller changes are not relevant in practice
_SMALLEST_P = 1e-12
_ATOL_LOG_P = 1e-5


@dataclass(frozen=True)
class Judgement:
    """Outcome of one score; numbers are None if nothing was compared.

    Attributes:
        arm: the judged arm; `a to b` if two arms were compared.
        reference, mean: means of the reference and of the judged run.
        margin: largest allowed loss, in the metric's unit.
        loss: how much worse the mean is, with one-sided 95 % bounds; negative if it is better.
        p_holm: p-value of no loss, after Holm's correction over all scores.
        source: `real` or `standin`.
    """

    dataset: str
    backbone: str
    labels: str
    arm: str
    method: str
    metric: str
    outcome: Outcome
    sentence: str
    reference: float | None
    margin: float
    source: str = ""
    title: str = ""
    unit: str = ""
    higher_is_better: bool | None = None
    num_images: int = 0
    num_seeds: int = 0
    num_reference_seeds: int = 0
    mean: float | None = None
    loss: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    p_holm: float | None = None

    @classmethod
    def of(
        cls, score: Any, spec: MetricSpec, *, margin: float, higher_is_better: bool | None,
        sentence: str = "",
    ) -> Judgement:  # fmt: skip
        """Return the judgement of a score that is not compared with another one (yet).

        Args:
            score: has the key of the score and its data source.
            spec: describes its metric.
            sentence: why it is not comparable.
        """
        return cls(
            dataset=str(score.dataset),
            backbone=str(score.backbone),
            labels=str(score.labels),
            arm=str(score.arm),
            method=str(score.method),
            metric=spec.name,
            outcome="not_comparable",
            sentence=sentence,
            reference=None,
            margin=margin,
            source=str(score.source),
            title=spec.title,
            unit=spec.unit,
            higher_is_better=higher_is_better,
        )

    @property
    def models_text(self) -> str:
        """The models: `cifar10 STAND-IN, lico, 400 labels`."""
        standin = " STAND-IN" if self.source == "standin" else ""
        budget = "" if self.labels == "full" else f", {self.labels} labels"
        return f"{self.dataset}{standin}, {self.arm}{budget}"

    @property
    def score_text(self) -> str:
        """The score: `Insertion ↑ of grad_cam (probability)`."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]
        of_method = f" of {self.method}" if self.method else ""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.title or self.metric}{arrow}{of_method}{unit}"

    @property
    def means_text(self) -> str:
        """Reference and new mean: `0.412 → 0.398`."""
        digits = _decimals_for(self.margin)
        before, after = (
            NO_VALUE if mean is None else f"{mean:.{digits}f}"
            for mean in (self.reference, self.mean)
        )
        return f"{before} → {after}"

    @property
    def loss_text(self) -> str:
        """The loss with its bounds: `+0.014 [−0.003, +0.031]`."""
        if self.loss is None:
            return NO_VALUE
        digits = _decimals_for(self.margin)
        size = signed(self.loss, digits)
        if self.loss_low is None or self.loss_high is None:
            return size
        return f"{size} [{signed(self.loss_low, digits)}, {signed(self.loss_high, digits)}]"

    @property
    def margin_text(self) -> str:
        """The margin: `0.050`."""
        return f"{self.margin:.{_decimals_for(self.margin)}f}"

    @property
    def sample_text(self) -> str:
        """The sample size: `16 images, 5 seeds`, or `16 images, seeds 5 → 1`."""
        if not self.num_images:
            return NO_VALUE
        images = f"{self.num_images:,} images"
        if not self.num_seeds:
            return images
        before, after = self.num_reference_seeds, self.num_seeds
        if before == after:
            return f"{images}, {after} {'seed' if after == 1 else 'seeds'}"
        return f"{images}, seeds {before} → {after}"


class Loss(NamedTuple):
    """Loss of a mean, its one-sided bounds, and the p-value of the hypothesis of no loss."""

    size: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Verdict:
    """Result of the gate for a run.

    Attributes:
        outcome: the worst outcome of the judgements, in the order of `WORST_FIRST`.
        judgements: one per score, in the order of the reference.
        num_unjudged: number of scores of the run that could be judged but have no reference.
        notes: sentences on the limits of the verdict.
        title: the command, such as `check`.
    """

    outcome: Outcome
    judgements: tuple[Judgement, ...]
    num_unjudged: int
    notes: tuple[str, ...] = ()
    title: str = "check"

    @property
    def exit_code(self) -> int:
        """Exit code: 0 pass or better, 1 regression, 3 inconclusive, 4 not comparable."""
        return EXIT_CODES[self.outcome]

    @property
    def sentence(self) -> str:
        """The outcome and the number of scores per outcome in one line."""
        counts = [(name, len(self.with_outcome(name))) for name in WORST_FIRST]
        parts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts if count)
        extra = f"; {self.num_unjudged} more without a reference" if self.num_unjudged else ""
        return f"{self.outcome.replace('_', ' ')}: {parts} of {len(self.judgements)} scores{extra}"

    def with_outcome(self, *outcomes: Outcome) -> tuple[Judgement, ...]:
        """Return the judgements with these outcomes, the worst first."""
        selected = (judgement for judgement in self.judgements if judgement.outcome in outcomes)
        return tuple(sorted(selected, key=lambda one: WORST_FIRST.index(one.outcome)))

    def to_frame(self) -> pd.DataFrame:
        """Return the judgements as a table, one row per score."""
        return pd.DataFrame([asdict(judgement) for judgement in self.judgements])


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


def check_confidence(confidence: float) -> None:
    """Raise unless `confidence` is in (0.5, 1), the range of a one-sided bound."""
    if not 0.5 < confidence < 1:
        raise InvalidInputError(
            f"confidence: expected a number between 0.5 and 1, got {confidence}; use 0.95"
        )


def worst(judgements: Iterable[Judgement]) -> Outcome:
    """Return the worst outcome."""
    return min((judgement.outcome for judgement in judgements), key=WORST_FIRST.index)


def decide(
    undecided: Sequence[tuple[Judgement, Loss | None]], *, other: str, names_better: bool = False
) -> tuple[Judgement, ...]:
    """Decide all judgements with a loss as one family of tests; keep the others unchanged.

    Args:
        other: name of the side that the loss is measured against, such as `the reference`.
        names_better: whether a significant gain is called `better` instead of `pass`.
    """
    p_values = np.array([np.nan if loss is None else loss.p_value for _, loss in undecided])
    adjusted = holm(p_values)
    adjusted_gains = holm(1 - p_values) if names_better else np.ones(len(undecided))
    num_tests = int(np.isfinite(p_values).sum())
    decided = []
    for (judgement, loss), p_holm, p_gain in zip(undecided, adjusted, adjusted_gains, strict=True):
        if loss is not None:
            outcome = _outcome(loss, judgement.margin, p_holm, p_gain)
            judgement = replace(
                judgement,
                outcome=outcome,
                sentence=_sentence(outcome, loss, judgement.margin, other, num_tests),
                loss=loss.size,
                loss_low=loss.low,
                loss_high=loss.high,
                p_holm=float(p_holm),
            )
        decided.append(judgement)
    return tuple(decided)


def _decimals_for(margin: float) -> int:
    """Return the number of decimals for a loss with this margin."""
    return 5 if 0 < margin < FINE_MARGIN else 3


def _outcome(loss: Loss, margin: float, p_holm: float, p_gain: float) -> Outcome:
    if loss.high < margin:
        return "better" if loss.high < 0 and p_gain < FAMILYWISE_ERROR else "pass"
    return "regression" if loss.low > margin and p_holm < FAMILYWISE_ERROR else "inconclusive"


def _sentence(outcome: Outcome, loss: Loss, margin: float, other: str, num_tests: int) -> str:
    digits = _decimals_for(margin)
    size = f"{abs(loss.size):.{digits}f}"
    verb = f"{size} {'worse' if loss.size > 0 else 'better'} than" if float(size) else "as good as"
    bounds = f"the loss is between {signed(loss.low, digits)} and {signed(loss.high, digits)}"
    limit = f"the margin of {margin:.{digits}f}"
    ending = {
        "better": "below zero",
        "pass": f"below {limit}",
        "regression": f"above {limit}",
        "inconclusive": f"which includes {limit}; score more images or trainings",
    }[outcome]
    if outcome == "inconclusive" and loss.low > margin:
        ending = (
            f"above {limit}, but not significant among {num_tests} scores; "
            "score more images or trainings"
        )
    return f"{verb} {other}; {bounds}, {ending}"
