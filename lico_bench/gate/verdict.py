"""Non-inferiority: is a run's mean at most a margin worse than the reference, beyond doubt?

With the loss as how much worse the run's mean is, e = sqrt(error_run^2 + error_reference^2) and
z = 1.645 (one-sided 95 %):

    loss + z * e < margin    pass
    loss - z * e > margin    regression
    otherwise                inconclusive

The two means are taken as independent. Where both were measured on the same pictures that is too
careful: a verdict of pass or regression can be trusted, some inconclusive ones would be decided by
a comparison picture by picture.

A run that asked for the sanity check must pass it too.

Source: Piaggio et al., JAMA 2012 (non-inferiority margins).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from lico_bench.errors import InvalidInputError
from lico_bench.gate.reference import KEY_COLUMNS, read_reference, standard_error
from lico_bench.stats import arm_means, sanity_verdicts
from lico_bench.stats.sanity import SANITY_CHECK, THRESHOLD

Outcome = Literal["pass", "regression", "inconclusive", "not_comparable"]
EXIT_CODES: dict[Outcome, int] = {
    "pass": 0,
    "regression": 1,
    "inconclusive": 3,
    "not_comparable": 4,
}
# What the whole run is called when its rows disagree: a proven regression stays one whatever else
# could not be compared, and nothing passes while something could not be judged.
_GRAVEST_FIRST: tuple[Outcome, ...] = ("regression", "not_comparable", "inconclusive", "pass")


@dataclass(frozen=True)
class Judgement:
    """One reference score and what became of it; numbers are None where nothing was compared."""

    dataset: str
    backbone: str
    labels: str
    arm: str
    method: str
    metric: str
    outcome: Outcome
    sentence: str
    reference: float
    margin: float
    mean: float | None = None
    loss: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a run.

    Attributes:
        outcome: the gravest of the judgements: regression, not_comparable, inconclusive, pass.
        judgements: one per reference score, in the order of the reference, then what the sanity
            check says of each method where the run asked for it.
        num_unjudged: means of the run that the reference does not know.
    """

    outcome: Outcome
    judgements: tuple[Judgement, ...]
    num_unjudged: int

    @property
    def exit_code(self) -> int:
        """0 pass, 1 regression, 3 inconclusive, 4 not comparable."""
        return EXIT_CODES[self.outcome]

    @property
    def sentence(self) -> str:
        """The outcome and the counts in one line."""
        counts = [(name, self._count(name)) for name in _GRAVEST_FIRST]
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts if count)
        extra = f"; {self.num_unjudged} more without a reference" if self.num_unjudged else ""
        return f"{self.outcome.replace('_', ' ')}: {told} of {len(self.judgements)} scores{extra}"

    def to_frame(self) -> pd.DataFrame:
        """The judgements as a table."""
        return pd.DataFrame([asdict(judgement) for judgement in self.judgements])

    def _count(self, outcome: str) -> int:
        return sum(judgement.outcome == outcome for judgement in self.judgements)


def check(
    scores: Any, *, reference: str | Path | pd.DataFrame, confidence: float = 0.95
) -> Verdict:
    """Judge each reference score: did the run fall behind it by more than its margin?

    Args:
        scores: rows, a run folder, or anything with `to_frame()`.
        reference: path of a CSV that `write_reference` made, or its table.
        confidence: of each one-sided bound, in (0.5, 1).

    Returns:
        The verdict. A score the run lacks, or measured under another protocol, data source or
        number of images, is `not_comparable` and says why.

    Raises:
        MissingDataError: if there is no such reference file.
        BrokenFileError: if the reference is garbled.
        InvalidInputError: for rows that cannot be scores.
    """
    if not 0.5 < confidence < 1:
        raise InvalidInputError(
            f"confidence: expected a share between 0.5 and 1, got {confidence}; 0.95 is usual"
        )
    frozen = read_reference(reference)
    means = arm_means(scores)
    means["standard_error"] = standard_error(means)
    found = {tuple(row[name] for name in KEY_COLUMNS): row for _, row in means.iterrows()}
    known = [tuple(row[name] for name in KEY_COLUMNS) for _, row in frozen.iterrows()]
    bound = float(ndtri(confidence))
    judgements = tuple(
        _judge(row, found.get(key), bound)
        for key, (_, row) in zip(known, frozen.iterrows(), strict=True)
    ) + tuple(_sanity_judgements(scores))
    outcomes = {judgement.outcome for judgement in judgements}
    return Verdict(
        outcome=next(outcome for outcome in _GRAVEST_FIRST if outcome in outcomes),
        judgements=judgements,
        num_unjudged=len(set(found) - set(known)),
    )


def _judge(frozen: pd.Series[Any], found: pd.Series[Any] | None, bound: float) -> Judgement:
    judgement = Judgement(
        **{name: frozen[name] for name in KEY_COLUMNS},
        outcome="not_comparable",
        sentence=_obstacle(frozen, found),
        reference=float(frozen["mean"]),
        margin=float(frozen["margin"]),
    )
    if judgement.sentence or found is None:
        return judgement
    mean = float(found["mean"])
    loss = (judgement.reference - mean) * (1 if frozen["higher_is_better"] else -1)
    error = float(np.hypot(found["standard_error"], frozen["standard_error"]))
    if not np.isfinite(error):
        sentence = "a single image has no standard error; score more images"
        return replace(judgement, outcome="inconclusive", sentence=sentence, mean=mean, loss=loss)
    low, high = loss - bound * error, loss + bound * error
    outcome: Outcome = "inconclusive"
    if high < judgement.margin:
        outcome = "pass"
    elif low > judgement.margin:
        outcome = "regression"
    return replace(
        judgement,
        outcome=outcome,
        sentence=_sentence(outcome, judgement.margin, loss, low, high),
        mean=mean,
        loss=loss,
        loss_low=low,
        loss_high=high,
    )


def _sanity_judgements(scores: Any) -> Iterator[Judgement]:
    """What the sanity check says of each method of a run that asked for it.

    A control is there to fail. A method that fails shows something else than the model, whatever
    its scores: that is as grave as a regression.
    """
    manifest = scores.manifest() if hasattr(scores, "manifest") else {}
    if SANITY_CHECK not in manifest.get("metrics", {}):
        return
    controls = {name for name, facts in manifest["methods"].items() if facts.get("is_control")}
    outcomes: dict[str, Outcome] = {"fail": "regression"}
    for _, row in sanity_verdicts(scores.curves()).iterrows():
        if row["method"] not in controls:
            yield Judgement(
                dataset=str(row["dataset"]),
                backbone=str(row["backbone"]),
                labels=str(row["labels"]),
                arm=str(row["arm"]),
                method=str(row["method"]),
                metric=SANITY_CHECK,
                outcome=outcomes.get(row["outcome"], row["outcome"]),
                sentence=str(row["sentence"]),
                reference=THRESHOLD,
                margin=0.0,
                mean=float(row["similarity"]),
            )


def _obstacle(frozen: pd.Series[Any], found: pd.Series[Any] | None) -> str:
    """Why the two cannot be compared, or nothing."""
    what = f"{frozen['metric']} of {frozen['method'] or 'the model'}"
    if found is None:
        return (
            f"the run has no {what} for {frozen['dataset']} ({frozen['backbone']}, arm "
            f"{frozen['arm']}, labels {frozen['labels']}); run it, or drop the row"
        )
    for name, remedy in (
        ("protocol", "rows of two protocols never compare; write a new reference"),
        ("source", "stand-ins and real images never compare; write a reference for this data"),
        ("num_images", "score the same images, or write a new reference"),
    ):
        if str(found[name]) != _plain(frozen[name]):
            return (
                f"{what}: the reference has {name.replace('num_', 'number of ')} "
                f"'{_plain(frozen[name])}', the run has '{found[name]}'; {remedy}"
            )
    if found["num_images"] == 0:
        return f"{what}: {found['note']}"
    return ""


def _plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) else str(value)


def _sentence(outcome: Outcome, margin: float, loss: float, low: float, high: float) -> str:
    told = f"{abs(loss):.3f} {'worse' if loss > 0 else 'better'} than the reference"
    margin_text = f"the margin of {margin:.3f}"
    bounds = f"the loss lies between {low:+.3f} and {high:+.3f}"
    endings = {
        "pass": f"{bounds}, below {margin_text}",
        "regression": f"{bounds}, beyond {margin_text}",
        "inconclusive": f"{bounds}, which holds {margin_text}; score more images",
    }
    return f"{told}; {endings[outcome]}"
