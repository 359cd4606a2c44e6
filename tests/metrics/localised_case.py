"""Metric inputs with maps and regions, for metrics that need nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from lico_bench.metrics import PROTOCOLS, MetricInputs


def localised(maps: Tensor, regions: Tensor | None, **facts: object) -> MetricInputs:
    """Metric inputs with `maps` (N, H, W); the model is never called."""
    num_images, height, width = maps.shape

    def model(_images: Tensor) -> Tensor:
        raise AssertionError("this metric sends no image through the model")

    return MetricInputs(
        model=model,
        images=torch.zeros(num_images, 3, height, width),
        targets=torch.zeros(num_images, dtype=torch.int64),
        maps=maps,
        regions=regions,
        protocol=PROTOCOLS["lico_bench_1"],
        **facts,  # type: ignore[arg-type]
    )
