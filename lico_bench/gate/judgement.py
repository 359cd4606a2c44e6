"""A score and what became of it; all of them as a verdict with an exit code.

Non-inferiority: with the loss as how much worse a mean is, and one-sided 95 % bounds around it,

    upper bound < margin                         pass
    lower bound > margin, and Holm's p < 0.05    regression
    otherwise                                    inconclusive

Holm's p belongs to the hypothesis that there is no loss at all, over all scores that were judged.
So of a score that lost just its margin at most 5 in 100 checks call it a regression, and of models
without any loss at most 5 in 100 checks call any of their scores one, however many there are and
however narrow the margins. `pass` needs no such correction: each score must earn it, and a verdict
passes only if all do.

Source: Piaggio et al., JAMA 2012 (non-inferiority margins); Holm, Scandinavian Journal of
Statistics 1979.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from lico_bench.stats import holm

Outcome = Literal["better", "pass", "regression", "inconclusive", "not_comparable"]
EXIT_CODES: dict[Outcome, int] = {
    "better": 0,
    "pass": 0,
    "regression": 1,
    "inconclusive": 3,
    "not_comparable": 4,
}
# What the whole run is called when its rows disagree: a proven regression stays one whatever else
# could not be compared, and nothing passes while something could not be judged.
WORST_FIRST: tuple[Outcome, ...] = (
    "regression", "not_comparable", "inconclusive", "pass", "better",
)  # fmt: skip
FALSE_FINDS = 0.05  # chance of any regression among models without a loss
FINE_BELOW = 0.01  # margins below it, and what is compared with them, get two digits more


@dataclass(frozen=True)
class Judgement:
    """One score and what became of it; numbers are None where nothing was compared.

    Attributes:
        arm: that was judged; `a to b` where two arms were compared.
        reference, mean: of the reference and of what was judged.
        margin: how much worse it may be, in the metric's unit.
        loss: how much worse it is, with one-sided 95 % bounds; below zero it is better.
        p_holm: of the hypothesis that there is no loss, after Holm's correction over all scores.
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
    """How much worse a mean is, its one-sided bounds, and the p-value of there being no loss."""

    size: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a run.

    Attributes:
        outcome: the gravest of the judgements: regression, not_comparable, inconclusive, pass,
            better.
        judgements: one per score, in the order of the reference.
        num_unjudged: means of the run with a better and a worse that the reference does not know.
        notes: sentences on what the verdict does not cover.
        title: what was done, `check`.
    """

    outcome: Outcome
    judgements: tuple[Judgement, ...]
    num_unjudged: int
    notes: tuple[str, ...] = ()
    title: str = "check"

    @property
    def exit_code(self) -> int:
        """0 pass or better, 1 regression, 3 inconclusive, 4 not comparable."""
        return EXIT_CODES[self.outcome]

    @property
    def sentence(self) -> str:
        """The outcome and the counts in one line."""
        counts = [(name, len(self.those(name))) for name in WORST_FIRST]
        message = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts if count)
        extra = f"; {self.num_unjudged} more without a reference" if self.num_unjudged else ""
        return (
            f"{self.outcome.replace('_', ' ')}: {message} of {len(self.judgements)} scores{extra}"
        )

    def those(self, *outcomes: Outcome) -> tuple[Judgement, ...]:
        """The judgements with these outcomes, gravest first."""
        wanted = [name for name in WORST_FIRST if name in outcomes]
        return tuple(one for name in wanted for one in self.judgements if one.outcome == name)

    def to_frame(self) -> pd.DataFrame:
        """The judgements as a table."""
        return pd.DataFrame([asdict(judgement) for judgement in self.judgements])


def worst(judgements: Iterable[Judgement]) -> Outcome:
    """The outcome that speaks for all of them."""
    outcomes = {judgement.outcome for judgement in judgements}
    return next(outcome for outcome in WORST_FIRST if outcome in outcomes)


def settle(
    found: Sequence[tuple[Judgement, Loss | None]], *, other: str, names_better: bool = False
) -> tuple[Judgement, ...]:
    """The judgements that have a loss, decided as one family; the rest as they are.

    Args:
        other: what the loss is measured against, `the reference`.
        names_better: whether a gain beyond doubt is called `better`, and not just `pass`.
    """
    p_values = np.array([np.nan if loss is None else loss.p_value for _, loss in found])
    adjusted = holm(p_values)
    gains = holm(1 - p_values) if names_better else np.ones(len(found))
    family = int(np.isfinite(p_values).sum())
    decided = []
    for number, (judgement, loss) in enumerate(found):
        if loss is not None:
            outcome = _outcome(loss, judgement.margin, adjusted[number], gains[number])
            judgement = replace(
                judgement,
                outcome=outcome,
                sentence=_sentence(outcome, loss, judgement.margin, other, family),
                loss=loss.size,
                loss_low=loss.low,
                loss_high=loss.high,
                p_holm=float(adjusted[number]),
            )
        decided.append(judgement)
    return tuple(decided)


def digits_beside(margin: float) -> int:
    """Decimals that tell a loss from its margin."""
    return 5 if 0 < margin < FINE_BELOW else 3


def signed(number: float, digits: int) -> str:
    """A number with its sign; a rounded zero has none."""
    message = f"{number:+.{digits}f}"
    return message.replace("-", "−") if message.strip("+-0.") else message[1:]


def _outcome(loss: Loss, margin: float, p_holm: float, p_gain: float) -> Outcome:
    if loss.high < margin:
        return "better" if loss.high < 0 and p_gain < FALSE_FINDS else "pass"
    return "regression" if loss.low > margin and p_holm < FALSE_FINDS else "inconclusive"


def _sentence(outcome: Outcome, loss: Loss, margin: float, other: str, family: int) -> str:
    digits = digits_beside(margin)
    size = f"{abs(loss.size):.{digits}f}"
    how = f"{size} {'worse' if loss.size > 0 else 'better'} than" if float(size) else "as good as"
    bounds = f"the loss lies between {signed(loss.low, digits)} and {signed(loss.high, digits)}"
    limit = f"the margin of {margin:.{digits}f}"
    ending = {
        "better": "below zero",
        "pass": f"below {limit}",
        "regression": f"beyond {limit}",
        "inconclusive": f"which holds {limit}; score more images or trainings",
    }[outcome]
    if outcome == "inconclusive" and loss.low > margin:
        ending = (
            f"beyond {limit}, but chance may do that to one of {family} scores; "
            "score more images or trainings"
        )
    return f"{how} {other}; {bounds}, {ending}"
