"""Test whether a run is worse than its reference scores by more than their margins.

`gate.uncertainty` bounds the loss and `gate.judgement` decides on it. A run with the metric
`sanity_check` must also pass the sanity check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.checks import check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.gate.facts import RunFacts, manifest_of
from lico_bench.gate.judgement import Judgement, Loss, Outcome, Verdict, decide, worst
from lico_bench.gate.reference import (
    ReferenceScore,
    ScoreMean,
    read_reference,
    rows_as,
    run_means,
)
from lico_bench.gate.selection import ALL, Selection
from lico_bench.gate.uncertainty import loss_error
from lico_bench.stats import sanity_verdicts
from lico_bench.stats.sanity import SANITY_CHECK, THRESHOLD

SEEDS_NOT_COVERED = (
    "one training on each side: the variation between trainings is not covered; "
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
    """Judge each reference score: is the run worse by more than the score's margin?

    Args:
        scores: rows, a run folder, several as `gate.Trainings`, or anything with `to_frame()`.
        reference: path of a CSV written by `write_reference`, or its table.
        confidence: of each one-sided bound, in (0.5, 1).
        margin: replaces the margins of the reference.
        only: metrics and methods to judge.

    Returns:
        The verdict. A score that the run lacks, or that it measured with another protocol, data
        source or number of images, is `not_comparable`; its sentence gives the reason.

    Raises:
        MissingDataError: if the reference file does not exist.
        BrokenFileError: if the reference is invalid.
        UnknownNameError: for a metric or method in `only` that the reference lacks.
        InvalidInputError: if `scores` has invalid rows.
    """
    check_confidence(confidence)
    table = read_reference(reference)
    sanity = [row for row in _sanity_judgements(scores) if only.includes(row.metric, row.method)]
    if not (sanity and tuple(only.metrics) == (SANITY_CHECK,)):
        only.check_known(table, "the reference")
    table = table[only.mask(table)]
    if margin is not None:
        check_positive("margin", margin)
        table = table.assign(margin=margin)
    facts = RunFacts.of(scores)
    means = {mean.key: mean for mean in rows_as(ScoreMean, run_means(scores))}
    expected = rows_as(ReferenceScore, table)
    undecided, notes = [], set()
    for score in expected:
        judgement, loss, note = _undecided_judgement(score, means.get(score.key), facts, confidence)
        undecided.append((judgement, loss))
        notes.add(note)
    judgements = (*decide(undecided, other="the reference"), *sanity)
    if not judgements:
        raise InvalidInputError("check: expected a score to judge, got none; name other metrics")
    judged = {score.key for score in expected}
    judgeable = {
        key
        for key in means
        if only.includes(key[-1], key[-2]) and facts.may_be_judged(key[-1], key[-2])
    }
    return Verdict(
        outcome=worst(judgements),
        judgements=judgements,
        num_unjudged=len(judgeable - judged),
        notes=tuple(sorted(notes - {""})),
    )


def check_confidence(confidence: float) -> None:
    """Raise unless `confidence` is in (0.5, 1), the range of a one-sided bound."""
    if not 0.5 < confidence < 1:
        raise InvalidInputError(
            f"confidence: expected a number between 0.5 and 1, got {confidence}; use 0.95"
        )


def _undecided_judgement(
    reference: ReferenceScore, run: ScoreMean | None, facts: RunFacts, confidence: float
) -> tuple[Judgement, Loss | None, str]:
    """Return a judgement before the correction for multiple tests, its loss, and a note or ""."""
    reason = _incomparable_reason(reference, run, facts)
    spec = facts.spec(reference.metric)
    judgement = Judgement(
        dataset=reference.dataset,
        backbone=reference.backbone,
        labels=reference.labels,
        arm=reference.arm,
        method=reference.method,
        metric=reference.metric,
        outcome="not_comparable",
        sentence=reason,
        reference=reference.mean,
        margin=reference.margin,
        source=reference.source,
        title=spec.title,
        unit=spec.unit,
        higher_is_better=reference.higher_is_better,
        num_reference_seeds=reference.num_seeds,
    )
    if reason or run is None:
        return judgement, None, ""
    judgement = replace(
        judgement,
        outcome="inconclusive",
        sentence="",
        mean=run.mean,
        num_images=run.num_images,
        num_seeds=run.num_seeds,
    )
    size = (reference.mean - run.mean) * (1 if reference.higher_is_better else -1)
    if run.num_images == 1:
        sentence = "a single image has no standard error; score more images"
        return replace(judgement, sentence=sentence, loss=size), None, ""
    error = loss_error(reference.facts, run.facts)
    half_width = error.half_width(confidence)
    loss = Loss(size, size - half_width, size + half_width, error.p_no_loss(size))
    note = "" if error.covers_seeds else SEEDS_NOT_COVERED
    return judgement, loss, note


def _sanity_judgements(scores: Any) -> Iterator[Judgement]:
    """Yield a judgement of the sanity check per method, if the run measured it.

    Control methods are expected to fail and are skipped. The maps of any other method that fails
    do not depend on the model, which counts as a regression.
    """
    if SANITY_CHECK not in manifest_of(scores).metrics:
        return
    facts = RunFacts.of(scores)
    spec = facts.spec(SANITY_CHECK)
    outcomes: dict[str, Outcome] = {"fail": "regression"}
    for _, row in sanity_verdicts(scores.curves()).iterrows():
        if row["method"] not in facts.controls:
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
                source=str(row["source"]),
                title=spec.title,
                unit=spec.unit,
                higher_is_better=False,
                num_images=int(row["num_images"]),
                mean=float(row["similarity"]),
            )


def _incomparable_reason(reference: ReferenceScore, run: ScoreMean | None, facts: RunFacts) -> str:
    """Return why the two means cannot be compared, or an empty text."""
    score = f"{reference.metric} of {reference.method or 'the model'}"
    if run is None:
        return (
            f"the run has no {score} for {reference.dataset} ({reference.backbone}, arm "
            f"{reference.arm}, labels {reference.labels}); score it, or remove the row from "
            "the reference"
        )
    for name, remedy in (
        ("protocol", "protocols cannot be mixed; write a new reference"),
        ("source", "stand-ins and real images cannot be mixed; write a reference for this data"),
        ("num_images", "score the same images, or write a new reference"),
    ):
        expected, found = getattr(reference, name), getattr(run, name)
        if found != expected:
            return (
                f"{score}: the reference has {name.replace('num_', 'number of ')} "
                f"'{expected}', the run has '{found}'; {remedy}"
            )
    if reference.pictures not in ("", run.pictures):
        return (
            f"{score}: the image names of reference and run differ; "
            "score the same images, or write a new reference"
        )
    direction = facts.spec(reference.metric).higher_is_better
    if direction is not None and direction != reference.higher_is_better:
        return (
            f"{score}: {_direction_word(reference.higher_is_better)} is better in the "
            f"reference, {_direction_word(direction)} in the run; write a new reference"
        )
    return ""


def _direction_word(higher_is_better: bool) -> str:
    return "higher" if higher_is_better else "lower"
