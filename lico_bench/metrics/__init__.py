"""Score an explanation: metrics by name, each with its direction, range, unit and source.

A metric is a function of `Evidence`: one batch of pictures, their maps, and what can be made of
them. What is costly (the perturbation curves) is made once and shared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from lico_bench.metrics.perturbation import (
    Curves,
    LogitsModel,
    area_under,
    perturbation_curves,
)
from lico_bench.metrics.pointing import pointing_game
from lico_bench.metrics.protocols import PROTOCOLS
from lico_bench.records import MetricSpec, Protocol
from lico_bench.registry import Registry

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Curves",
    "Evidence",
    "LogitsModel",
    "Metric",
    "area_under",
    "perturbation_curves",
    "pointing_game",
]


@dataclass
class Evidence:
    """What a metric may look at, for N pictures and one saliency method.

    Attributes:
        model: from images in [0, 1] to logits.
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64, the class explained and scored.
        maps: (N, H, W) float32.
        regions: (N, H, W) bool, or None where the dataset has no ground truth.
    """

    model: LogitsModel
    images: Tensor
    targets: Tensor
    maps: Tensor
    regions: Tensor | None
    protocol: Protocol

    @cached_property
    def curves(self) -> Curves:
        """Insertion and deletion curves of the batch, made at the first look."""
        return perturbation_curves(
            self.model, self.images, self.targets, self.maps, protocol=self.protocol
        )


@dataclass(frozen=True)
class Metric:
    """A spec and the function that computes it, (N,) with NaN for skipped pictures."""

    spec: MetricSpec
    compute: Callable[[Evidence], Tensor]


METRICS: Registry[Metric] = Registry("metric", __name__)
