"""Inference cost of one image, counted because measured times vary between machines."""

from __future__ import annotations

import torch
from torch import nn

from lico_bench.models import evaluating
from lico_bench.store.run_records import InferenceCost


def inference_cost(classifier: nn.Module, image_size: tuple[int, int]) -> InferenceCost:
    """Return the parameters and the GFLOP of one image's forward, counted by torch.

    Both are exact and the same on every machine. Each multiplication and each addition of
    convolutions and matrix products counts one; other operations are not counted.

    Args:
        classifier: maps images (N, 3, H, W) in [0, 1] to logits.
        image_size: H and W in pixels.
    """
    from torch.utils.flop_counter import FlopCounterMode  # the import takes a second

    device = next(classifier.parameters()).device
    images = torch.zeros(1, 3, *image_size, device=device)
    with evaluating(classifier), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        classifier(images)
    return InferenceCost(
        parameters=sum(p.numel() for p in classifier.parameters()),
        gigaflop=float(counter.get_total_flops()) / 1e9,
    )
