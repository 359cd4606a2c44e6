"""Records of a claim, its evidence and its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["supported", "contradicted", "equivalent", "inconclusive", "not_tested"]
Direction = Literal["better", "not_worse"]

INFERENCE_COST = "inference_cost"  # endpoint without rows: counts of one forward pass


@dataclass(frozen=True)
class Claim:
    """A claim of a paper in testable form.

    Attributes:
        statement: the claim in one sentence.
        source: where the claim is published.
        arm, reference_arm: the compared arms.
        metric: the endpoint, with its declared direction; `INFERENCE_COST` compares the counts of
            one forward pass.
        methods: saliency methods that the claim covers, without options; the first is the primary
            method, which decides. Empty for a score of the model.
        direction: `better`, or `not_worse` by more than the smallest effect.
        smallest_effect: smallest effect of interest, > 0, in the unit of the metric.
        min_seeds: trainings per arm that a decision needs.
        control_arms: arms that `arm` must beat significantly.
        control_methods: methods that ignore the model and whose score must gain less.
        datasets: datasets that the claim covers; empty for any.
        labels: label budgets that the claim covers, `full` or a number; empty for any.
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
    """The evidence on a claim for one dataset, backbone, label budget and method.

    `gain` is the difference with the sign such that larger is better, `low` and `high` its 95 %
    interval; None where there is none. `sentence` explains the outcome.
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
    """The verdict on a claim: outcome, sentence and evidence."""

    claim: Claim
    outcome: Outcome
    sentence: str
    evidence: tuple[Evidence, ...] = ()
