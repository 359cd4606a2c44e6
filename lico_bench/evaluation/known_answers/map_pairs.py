"""A metric's opinion of maps whose order of merit is known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lico_bench.evaluation.known_answers.scene import Scene
from lico_bench.metrics import Metric, MetricInputs

RANDOM = "random_map"


def merit(metric: Metric, inputs: MetricInputs) -> Tensor:
    """(N,) float64 values with the sign that makes larger better; a descriptive metric's as is."""
    values = metric.compute(inputs).detach().double().cpu()
    return -values if metric.spec.higher_is_better is False else values


def effect_size(differences: Tensor) -> float:
    """Mean of (N,) differences over their standard deviation, NaN left out; infinite without any.

    NaN if nothing is defined.
    """
    defined = differences[~differences.isnan()]
    if len(defined) == 0:
        return float("nan")
    mean, spread = defined.mean(), defined.std(correction=0)
    if spread == 0:
        return float(torch.sign(mean) * torch.inf) if mean != 0 else 0.0
    return float(mean / spread)


def difference(values: Tensor, others: Tensor) -> float:
    """Largest difference, relative where values pass 1; infinite where only one is a NaN."""
    if not torch.equal(values.isnan(), others.isnan()):
        return float("inf")
    change = (values - others).abs() / values.abs().clamp_min(1)
    return float(change.nan_to_num().max())


@dataclass(frozen=True)
class RelativeMerit:
    """Where a method's mean lies between those of the random map and of the oracle.

    Attributes:
        method: its name.
        above_random: (method - random) / (oracle - random), 0 for noise and 1 for the oracle.
        mean: of the metric, in its own direction.
    """

    method: str
    above_random: float
    mean: float


@dataclass(frozen=True)
class MapScores:
    """What a metric says of the oracle, the random map and some methods on one scene."""

    oracle: Tensor
    random: Tensor

    @property
    def gap(self) -> float:
        """By how much the oracle's mean is better than the random map's."""
        return float((self.oracle - self.random).nanmean())

    def relative_merit(self, method: str, values: Tensor) -> RelativeMerit:
        """Of a method with values (N,)."""
        above = float((values - self.random).nanmean()) / self.gap if self.gap else float("nan")
        return RelativeMerit(method, above, float(values.nanmean()))


def map_scores_of(metric: Metric, scene: Scene) -> MapScores:
    """The two ends of the scale."""
    return MapScores(
        merit(metric, scene.kept_inputs("the reason", lambda: scene.oracle)),
        merit(metric, scene.inputs_of(RANDOM)),
    )
