"""What one image costs a trained classifier: counted, because a clock would tell another tale."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lico_bench.models import evaluating


def inference_cost(classifier: nn.Module, image_size: tuple[int, int]) -> dict[str, Any]:
    """`parameters`, and `gigaflop` of one image's forward, as torch counts them.

    Both are exact and the same on every machine, so that two equal networks have equal counts.
    Multiplications and additions of convolutions and matrix products count one each, nothing else.

    Args:
        classifier: from images in [0, 1], (N, 3, H, W).
        image_size: H and W in pixels.
    """
    from torch.utils.flop_counter import FlopCounterMode  # a second to import

    device = next(classifier.parameters()).device
    images = torch.zeros(1, 3, *image_size, device=device)
    with evaluating(classifier), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        classifier(images)
    return {
        "parameters": sum(p.numel() for p in classifier.parameters()),
        "gigaflop": float(counter.get_total_flops()) / 1e9,
    }
