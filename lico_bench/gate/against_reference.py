"""Test whether a run is worse than its reference scores by more than their margins.

`gate.judgement` bounds the loss and decides on it. A run with the metric `sanity_check` must also
pass the sanity check.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.checks import check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.gate.judgement import (
    Judgement,
    Loss,
    Outcome,
    Verdict,
    check_confidence,
    decide,
    loss_error,
    worst,
)
from lico_bench.gate.reference import (
    ReferenceScore,
    ScoreMean,
    read_reference,
    rows_as,
    score_means,
)
from lico_bench.gate.side import ALL, Selection, Side
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
    side = Side.of(scores)
    sanity = _sanity_judgements(scores, side, only)
    if not (sanity and tuple(only.metrics) == (SANITY_CHECK,)):
        only.check_known(table, "the reference")
    table = table[only.mask(table)]
    if margin is not None:
        check_positive("margin", margin)
        table = table.assign(margin=margin)
    means = score_means(side.rows)
    found = {mean.key: mean for mean in rows_as(ScoreMean, means)}
    expected = {score.key: score for score in rows_as(ReferenceScore, table)}
    undecided = [
        _undecided_judgement(score, found.get(key), side, confidence)
        for key, score in expected.items()
    ]
    judgements = (*decide(undecided, other="the reference"), *sanity)
    if not judgements:
        raise InvalidInputError("check: expected a score to judge, got none; name other metrics")
    judgeable = rows_as(ScoreMean, means[only.mask(means) & side.is_judged(means)])
    has_single_trainings = any(
        loss is not None and judgement.num_seeds == judgement.num_reference_seeds == 1
        for judgement, loss in undecided
    )
    return Verdict(
        outcome=worst(judgements),
        judgements=judgements,
        num_unjudged=len({mean.key for mean in judgeable} - set(expected)),
        notes=(SEEDS_NOT_COVERED,) if has_single_trainings else (),
    )


def _undecided_judgement(
    reference: ReferenceScore, run: ScoreMean | None, side: Side, confidence: float
) -> tuple[Judgement, Loss | None]:
    """Return a judgement before the correction for multiple tests, and its loss."""
    reason = _incomparable_reason(reference, run, side)
    judgement = replace(
        Judgement.of(
            reference,
            side.spec(reference.metric),
            margin=reference.margin,
            higher_is_better=reference.higher_is_better,
            sentence=reason,
        ),
        reference=reference.mean,
        num_reference_seeds=reference.num_seeds,
    )
    if reason or run is None:
        return judgement, None
    judgement = replace(
        judgement,
        outcome="inconclusive",
        mean=run.mean,
        num_images=run.num_images,
        num_seeds=run.num_seeds,
    )
    size = (reference.mean - run.mean) * (1 if reference.higher_is_better else -1)
    if run.num_images == 1:
        sentence = "a single image has no standard error; score more images"
        return replace(judgement, sentence=sentence, loss=size), None
    error = loss_error(reference, run)
    half_width = error.half_width(confidence)
    return judgement, Loss(size, size - half_width, size + half_width, error.p_no_loss(size))


def _sanity_judgements(scores: Any, side: Side, only: Selection) -> list[Judgement]:
    """Return a judgement of the sanity check per method, if the run measured it.

    Control methods are expected to fail and are skipped. The maps of any other method that fails
    do not depend on the model, which counts as a regression.
    """
    if SANITY_CHECK not in side.metrics:
        return []
    verdicts = sanity_verdicts(scores.curves()).assign(metric=SANITY_CHECK)
    verdicts = verdicts[only.mask(verdicts) & ~verdicts["method"].isin(side.controls)]
    outcomes: dict[str, Outcome] = {"fail": "regression"}
    return [
        replace(
            Judgement.of(row, side.spec(SANITY_CHECK), margin=0.0, higher_is_better=False),
            outcome=outcomes.get(row["outcome"], row["outcome"]),
            sentence=str(row["sentence"]),
            reference=THRESHOLD,
            mean=float(row["similarity"]),
            num_images=int(row["num_images"]),
        )
        for _, row in verdicts.iterrows()
    ]


def _incomparable_reason(reference: ReferenceScore, run: ScoreMean | None, side: Side) -> str:
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
    direction = side.spec(reference.metric).higher_is_better
    if direction is not None and direction != reference.higher_is_better:
        words = {True: "higher", False: "lower"}
        return (
            f"{score}: {words[reference.higher_is_better]} is better in the reference, "
            f"{words[direction]} in the run; write a new reference"
        )
    return ""
