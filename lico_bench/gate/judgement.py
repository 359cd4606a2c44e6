"""Judgements of single scores, and the verdict on all of them with its exit code.

Non-inferiority test: the loss is how much worse a mean is; with its one-sided 95 % bounds,

    upper bound < margin                         pass
    lower bound > margin, and Holm's p < 0.05    regression
    otherwise                                    inconclusive

Holm's p is the p-value of the hypothesis that there is no loss, corrected over all judged scores.
A score whose loss equals its margin is called a regression in at most 5 of 100 checks; models
without any loss have a regression in at most 5 of 100 checks, for any number of scores and any
margins. `pass` needs no correction, because a verdict passes only if every score passes.

Source: Piaggio et al., JAMA 2012 (non-inferiority margins); Holm, Scandinavian Journal of
Statistics 1979.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from lico_bench.number_text import signed
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
FINE_MARGIN = 0.01  # smaller margins and their losses are printed with two more digits


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
        ordered = [name for name in WORST_FIRST if name in outcomes]
        return tuple(
            judgement
            for name in ordered
            for judgement in self.judgements
            if judgement.outcome == name
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the judgements as a table, one row per score."""
        return pd.DataFrame([asdict(judgement) for judgement in self.judgements])


def worst(judgements: Iterable[Judgement]) -> Outcome:
    """Return the worst outcome."""
    outcomes = {judgement.outcome for judgement in judgements}
    return next(outcome for outcome in WORST_FIRST if outcome in outcomes)


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
    for number, (judgement, loss) in enumerate(undecided):
        if loss is not None:
            outcome = _outcome(loss, judgement.margin, adjusted[number], adjusted_gains[number])
            judgement = replace(
                judgement,
                outcome=outcome,
                sentence=_sentence(outcome, loss, judgement.margin, other, num_tests),
                loss=loss.size,
                loss_low=loss.low,
                loss_high=loss.high,
                p_holm=float(adjusted[number]),
            )
        decided.append(judgement)
    return tuple(decided)


def decimals_for(margin: float) -> int:
    """Return the number of decimals for a loss with this margin."""
    return 5 if 0 < margin < FINE_MARGIN else 3


def _outcome(loss: Loss, margin: float, p_holm: float, p_gain: float) -> Outcome:
    if loss.high < margin:
        return "better" if loss.high < 0 and p_gain < FAMILYWISE_ERROR else "pass"
    return "regression" if loss.low > margin and p_holm < FAMILYWISE_ERROR else "inconclusive"


def _sentence(outcome: Outcome, loss: Loss, margin: float, other: str, num_tests: int) -> str:
    digits = decimals_for(margin)
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
