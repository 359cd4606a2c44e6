"""Did a run fall behind its frozen reference scores by more than their margins?

How the loss is bounded stands in `gate.uncertainty`, how it is judged in `gate.judgement`. A run
that asked for the sanity check must pass it too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.checks import check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.gate.facts import RunFacts
from lico_bench.gate.judgement import Judgement, Loss, Outcome, Verdict, settle, worst
from lico_bench.gate.reference import IMAGES, KEY_COLUMNS, facts_of, means_of, read_reference
from lico_bench.gate.selection import ALL, Selection
from lico_bench.gate.uncertainty import loss_error
from lico_bench.stats import sanity_verdicts
from lico_bench.stats.sanity import SANITY_CHECK, THRESHOLD

SEEDS_NOT_COVERED = (
    "one training on each side: what another training would give is not covered; "
    "write the reference from several (--seeds 5, or check RUN1 RUN2 RUN3 --update)"
)


def check(
    scores: Any,
    *,
    reference: str | Path | pd.DataFrame,
    confidence: float = 0.95,
    margin: float | None = None,
    only: Selection = ALL,
) -> Verdict:
    """Judge each reference score: did the run fall behind it by more than its margin?

    Args:
        scores: rows, a run folder, several as `gate.Trainings`, or anything with `to_frame()`.
        reference: path of a CSV that `write_reference` made, or its table.
        confidence: of each one-sided bound, in (0.5, 1).
        margin: in place of the reference's own.
        only: metrics and methods that are judged.

    Returns:
        The verdict. A score the run lacks, or measured under another protocol, data source or
        number of images, is `not_comparable` and says why.

    Raises:
        MissingDataError: if there is no such reference file.
        BrokenFileError: if the reference is garbled.
        UnknownNameError: for a metric or method in `only` that the reference lacks.
        InvalidInputError: for rows that cannot be scores.
    """
    check_confidence(confidence)
    frozen = read_reference(reference)
    sanity = [one for one in _sanity_judgements(scores) if only.takes(one.metric, one.method)]
    if not (sanity and tuple(only.metrics) == (SANITY_CHECK,)):
        only.check_known(frozen, "the reference")
    frozen = frozen[only.of(frozen)]
    if margin is not None:
        check_positive("margin", margin)
        frozen = frozen.assign(margin=margin)
    facts = RunFacts.of(scores)
    means = means_of(scores)
    found = {tuple(row[name] for name in KEY_COLUMNS): row for _, row in means.iterrows()}
    open_ones, notes = [], set()
    for _, row in frozen.iterrows():
        judgement, loss, note = _open(
            row, found.get(tuple(row[name] for name in KEY_COLUMNS)), facts, confidence
        )
        open_ones.append((judgement, loss))
        notes.add(note)
    judgements = (*settle(open_ones, other="the reference"), *sanity)
    if not judgements:
        raise InvalidInputError("check: expected a score to judge, got none; name other metrics")
    known = {tuple(row[name] for name in KEY_COLUMNS) for _, row in frozen.iterrows()}
    more = {
        key for key in found if only.takes(key[-1], key[-2]) and facts.may_judge(key[-1], key[-2])
    }
    return Verdict(
        outcome=worst(judgements),
        judgements=judgements,
        num_unjudged=len(more - known),
        notes=tuple(sorted(notes - {""})),
    )


def check_confidence(confidence: float) -> None:
    """Raise unless `confidence` is that of a one-sided bound, in (0.5, 1)."""
    if not 0.5 < confidence < 1:
        raise InvalidInputError(
            f"confidence: expected a share between 0.5 and 1, got {confidence}; 0.95 is usual"
        )


def _open(
    frozen: pd.Series[Any], found: pd.Series[Any] | None, facts: RunFacts, confidence: float
) -> tuple[Judgement, Loss | None, str]:
    """What is known of a score before the family is settled, and what to note of it."""
    missing = _missing(frozen, found, facts)
    known: dict[str, Any] = {name: str(frozen[name]) for name in (*KEY_COLUMNS, "source")}
    known |= facts.words(known["metric"]) | {"higher_is_better": bool(frozen["higher_is_better"])}
    known |= {"reference": float(frozen["mean"]), "margin": float(frozen["margin"])}
    known["num_reference_seeds"] = int(frozen["num_seeds"])
    if missing or found is None:
        return Judgement(**known, outcome="not_comparable", sentence=missing), None, ""
    mean = float(found["mean"])
    known |= {"mean": mean, "num_images": int(found["num_images"])}
    known["num_seeds"] = int(found["num_seeds"])
    size = (known["reference"] - mean) * (1 if known["higher_is_better"] else -1)
    if known["num_images"] == 1:
        sentence = "a single image has no standard error; score more images"
        return Judgement(**known, outcome="inconclusive", sentence=sentence, loss=size), None, ""
    error = loss_error(facts_of(frozen), facts_of(found))
    reach = error.reach(confidence)
    loss = Loss(size, size - reach, size + reach, error.p_no_loss(size))
    note = "" if error.covers_seeds else SEEDS_NOT_COVERED
    return Judgement(**known, outcome="inconclusive", sentence=""), loss, note


def _sanity_judgements(scores: Any) -> Iterator[Judgement]:
    """What the sanity check says of each method of a run that asked for it.

    A control is there to fail. A method that fails shows something else than the model, whatever
    its scores: that is as grave as a regression.
    """
    manifest = scores.manifest() if hasattr(scores, "manifest") else {}
    if SANITY_CHECK not in manifest.get("metrics", {}):
        return
    facts = RunFacts.of(scores)
    outcomes: dict[str, Outcome] = {"fail": "regression"}
    for _, row in sanity_verdicts(scores.curves()).iterrows():
        if row["method"] not in facts.controls:
            named: dict[str, Any] = {
                name: str(row[name])
                for name in ("dataset", "source", "backbone", "labels", "arm", "method")
            }
            yield Judgement(
                **named,
                metric=SANITY_CHECK,
                outcome=outcomes.get(row["outcome"], row["outcome"]),
                sentence=str(row["sentence"]),
                reference=THRESHOLD,
                margin=0.0,
                num_images=int(row["num_images"]),
                mean=float(row["similarity"]),
                **(facts.words(SANITY_CHECK) | {"higher_is_better": False}),
            )


def _missing(frozen: pd.Series[Any], found: pd.Series[Any] | None, facts: RunFacts) -> str:
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
        if str(found[name]) != str(frozen[name]):
            return (
                f"{what}: the reference has {name.replace('num_', 'number of ')} "
                f"'{frozen[name]}', the run has '{found[name]}'; {remedy}"
            )
    if frozen[IMAGES] not in ("", found[IMAGES]):
        return (
            f"{what}: the reference is of other images than the run, going by their names; "
            "score the same images, or write a new reference"
        )
    direction = facts.words(str(frozen["metric"]))["higher_is_better"]
    if direction is not None and direction != frozen["higher_is_better"]:
        return (
            f"{what}: the reference calls {_better(frozen['higher_is_better'])} better, the run "
            f"{_better(direction)}; write a new reference"
        )
    return ""


def _better(higher_is_better: bool) -> str:
    return "higher" if higher_is_better else "lower"
