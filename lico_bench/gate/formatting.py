"""Judgements in the words that the terminal, the comment and the test report share."""

from __future__ import annotations

from lico_bench.gate.judgement import Judgement, Outcome, digits_beside, signed

NOTHING = "–"
_ARROWS = {True: " ↑", False: " ↓", None: ""}


def where(judgement: Judgement) -> str:
    """Which models: `cifar10 STAND-IN, lico, 400 labels`."""
    standin = " STAND-IN" if judgement.source == "standin" else ""
    budget = "" if judgement.labels == "full" else f", {judgement.labels} labels"
    return f"{judgement.dataset}{standin}, {judgement.arm}{budget}"


def what(judgement: Judgement) -> str:
    """Which score: `Insertion ↑ of grad_cam (probability)`."""
    name = (judgement.title or judgement.metric) + _ARROWS[judgement.higher_is_better]
    of_method = f" of {judgement.method}" if judgement.method else ""
    unit = f" ({judgement.unit})" if judgement.unit else ""
    return f"{name}{of_method}{unit}"


def outcome_word(outcome: Outcome) -> str:
    """`not comparable`."""
    return outcome.replace("_", " ")


def means(judgement: Judgement) -> str:
    """What it was and what it is: `0.412 → 0.398`."""
    digits = digits_beside(judgement.margin)
    was, now = (
        NOTHING if mean is None else f"{mean:.{digits}f}"
        for mean in (judgement.reference, judgement.mean)
    )
    return f"{was} → {now}"


def loss(judgement: Judgement) -> str:
    """How much worse, with its bounds: `+0.014 [−0.003, +0.031]`."""
    if judgement.loss is None:
        return NOTHING
    digits = digits_beside(judgement.margin)
    message = signed(judgement.loss, digits)
    if judgement.loss_low is None or judgement.loss_high is None:
        return message
    return (
        f"{message} [{signed(judgement.loss_low, digits)}, {signed(judgement.loss_high, digits)}]"
    )


def margin(judgement: Judgement) -> str:
    """`0.050`."""
    return f"{judgement.margin:.{digits_beside(judgement.margin)}f}"


def basis(judgement: Judgement) -> str:
    """What it rests on: `16 images, 5 seeds`, or `16 images, seeds 5 → 1`."""
    if not judgement.num_images:
        return NOTHING
    message = f"{judgement.num_images:,} images"
    if not judgement.num_seeds:
        return message
    before, now = judgement.num_reference_seeds, judgement.num_seeds
    if before == now:
        return f"{message}, {now} {'seed' if now == 1 else 'seeds'}"
    return f"{message}, seeds {before} → {now}"
