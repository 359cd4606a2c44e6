"""Scores of maps with a known ranking, and comparisons of such scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lico_bench.evaluation.known_answers.scene import Scene
from lico_bench.metrics import Metric, MetricInputs

RANDOM = "random_map"


def merit(metric: Metric, inputs: MetricInputs) -> Tensor:
    """Metric values (N,) float64, negated if lower is better; unchanged for descriptive metrics."""
    values = metric.compute(inputs).detach().double().cpu()
    return -values if metric.spec.higher_is_better is False else values


def effect_size(differences: Tensor) -> float:
    """Mean of the (N,) differences over their standard deviation, ignoring NaN.

    Infinite for equal non-zero differences; NaN if all are NaN.
    """
    defined = differences[~differences.isnan()]
    if len(defined) == 0:
        return float("nan")
    mean, spread = defined.mean(), defined.std(correction=0)
    if spread == 0:
        return float(torch.sign(mean) * torch.inf) if mean != 0 else 0.0
    return float(mean / spread)


def difference(values: Tensor, others: Tensor) -> float:
    """Largest difference, relative for values above 1; infinite if only one of a pair is NaN."""
    if not torch.equal(values.isnan(), others.isnan()):
        return float("inf")
    change = (values - others).abs() / values.abs().clamp_min(1)
    return float(change.nan_to_num().max())


@dataclass(frozen=True)
class RelativeMerit:
    """Position of a method's mean between those of the random map and of the oracle.

    Attributes:
        above_random: (method - random) / (oracle - random); 0 for random, 1 for the oracle.
        mean: mean of `merit`.
    """

    method: str
    above_random: float
    mean: float


@dataclass(frozen=True)
class MapScores:
    """Merit (N,) of the oracle and of the random map on one scene."""

    oracle: Tensor
    random: Tensor

    @property
    def gap(self) -> float:
        """Mean merit of the oracle minus that of the random map."""
        return float((self.oracle - self.random).nanmean())

    def relative_merit(self, method: str, values: Tensor) -> RelativeMerit:
        """Relative merit of a method with merits `values` (N,)."""
        above = float((values - self.random).nanmean()) / self.gap if self.gap else float("nan")
        return RelativeMerit(method, above, float(values.nanmean()))


def map_scores_of(metric: Metric, scene: Scene) -> MapScores:
    """Return the merits of the oracle and of the random map."""
    return MapScores(
        merit(metric, scene.cached_inputs("oracle map", lambda: scene.oracle)),
        merit(metric, scene.inputs_of(RANDOM)),
    )
