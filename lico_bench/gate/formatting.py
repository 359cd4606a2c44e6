"""Text of judgements, shared by the terminal, Markdown, JUnit and annotation output."""

from __future__ import annotations

from lico_bench.gate.judgement import Judgement, Outcome, decimals_for
from lico_bench.number_text import signed

NO_VALUE = "–"
_ARROWS = {True: " ↑", False: " ↓", None: ""}


def models_text(judgement: Judgement) -> str:
    """Return the models: `cifar10 STAND-IN, lico, 400 labels`."""
    standin = " STAND-IN" if judgement.source == "standin" else ""
    budget = "" if judgement.labels == "full" else f", {judgement.labels} labels"
    return f"{judgement.dataset}{standin}, {judgement.arm}{budget}"


def score_text(judgement: Judgement) -> str:
    """Return the score: `Insertion ↑ of grad_cam (probability)`."""
    name = (judgement.title or judgement.metric) + _ARROWS[judgement.higher_is_better]
    of_method = f" of {judgement.method}" if judgement.method else ""
    unit = f" ({judgement.unit})" if judgement.unit else ""
    return f"{name}{of_method}{unit}"


def outcome_text(outcome: Outcome) -> str:
    """Return the outcome in words: `not comparable`."""
    return outcome.replace("_", " ")


def means_text(judgement: Judgement) -> str:
    """Return reference and new mean: `0.412 → 0.398`."""
    digits = decimals_for(judgement.margin)
    before, after = (
        NO_VALUE if mean is None else f"{mean:.{digits}f}"
        for mean in (judgement.reference, judgement.mean)
    )
    return f"{before} → {after}"


def loss_text(judgement: Judgement) -> str:
    """Return the loss with its bounds: `+0.014 [−0.003, +0.031]`."""
    if judgement.loss is None:
        return NO_VALUE
    digits = decimals_for(judgement.margin)
    size = signed(judgement.loss, digits)
    if judgement.loss_low is None or judgement.loss_high is None:
        return size
    return f"{size} [{signed(judgement.loss_low, digits)}, {signed(judgement.loss_high, digits)}]"


def margin_text(judgement: Judgement) -> str:
    """Return the margin: `0.050`."""
    return f"{judgement.margin:.{decimals_for(judgement.margin)}f}"


def basis_text(judgement: Judgement) -> str:
    """Return the sample size: `16 images, 5 seeds`, or `16 images, seeds 5 → 1`."""
    if not judgement.num_images:
        return NO_VALUE
    images = f"{judgement.num_images:,} images"
    if not judgement.num_seeds:
        return images
    before, after = judgement.num_reference_seeds, judgement.num_seeds
    if before == after:
        return f"{images}, {after} {'seed' if after == 1 else 'seeds'}"
    return f"{images}, seeds {before} → {after}"
