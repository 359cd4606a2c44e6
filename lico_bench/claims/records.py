"""A declared claim, the evidence that a run holds on it, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["supported", "contradicted", "equivalent", "inconclusive", "not_tested"]
Direction = Literal["better", "not_worse"]

INFERENCE_COST = "inference_cost"  # an endpoint that is no row: counts of one forward


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper as something that rows can decide.

    Attributes:
        statement: the claim in one sentence of our own.
        source: where it is made.
        arm, reference_arm: what is compared.
        metric: the endpoint, `better` follows its declared direction; `INFERENCE_COST` compares
            the counts of one forward.
        methods: saliency methods it is claimed for, by name without options; the first is the
            primary one, whose evidence decides. Empty for a score of the model itself.
        direction: `better`, or `not_worse` by more than the smallest effect.
        smallest_effect: of interest, in the metric's unit, > 0.
        min_seeds: trainings per arm below which nothing is decided.
        control_arms: arms that `arm` must clearly beat for the claim to stand.
        control_methods: maps that know nothing of the model, whose score must gain less.
        datasets: that it is claimed for; empty for any.
        labels: budgets it is claimed for, `full` or a number; empty for any.
    """

    id: str
    title: str
    statement: str
    source: str
    arm: str
    reference_arm: str
    metric: str
    direction: Direction
    smallest_effect: float
    methods: tuple[str, ...] = ()
    min_seeds: int = 3
    control_arms: tuple[str, ...] = ()
    control_methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What one dataset, backbone, label budget and method says of a claim.

    `gain` is the difference turned so that larger is better, with its 95 % interval; None where
    there is none. `sentence` says why the outcome is what it is.
    """

    dataset: str
    source: str
    backbone: str
    labels: str
    method: str
    outcome: Outcome
    sentence: str
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    p_equivalent: float | None = None
    num_images: int = 0
    num_seeds: int = 0
    protocol: str = ""


@dataclass(frozen=True)
class ClaimVerdict:
    """The verdict on a claim, in one word and one sentence, with all its evidence."""

    claim: Claim
    outcome: Outcome
    sentence: str
    evidence: tuple[Evidence, ...] = ()
