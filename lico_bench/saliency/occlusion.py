"""Occlusion: the drop of the target's probability while a window hides part of the image."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lico_bench.errors import InvalidInputError
from lico_bench.models import default_micro_batch
from lico_bench.saliency import MapCostInputs, add_method
from lico_bench.saliency.readouts import fill_colour, scores_in_states

WINDOW, STRIDE = 0.25, 0.125


def occlusion_cost(
    cost_inputs: MapCostInputs, *, window: float = WINDOW, stride: float = STRIDE, **_options: Any
) -> float:
    """One forward per window, and one for the image."""
    sizes = _sizes_px(cost_inputs.image_size, window, stride)
    return math.prod(_num_windows(side, *sizes) for side in cost_inputs.image_size) + 1


@add_method(
    "occlusion",
    title="Occlusion",
    source="Zeiler & Fergus, ECCV 2014",
    family="perturbation",
    cost=occlusion_cost,
    is_signed=True,
    pitfalls="the window's size decides what can be seen; where the probability is near 1 and "
    "others hold the same evidence, hiding one part changes nothing",
)
def occlusion(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    window: float = WINDOW,
    stride: float = STRIDE,
    fill: float | str = "mean",
) -> Tensor:
    """Drop of the target's probability, averaged over the windows that hide a pixel.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        window: side of the square window, as a share of the shorter side.
        stride: distance between windows, as a share of the shorter side; the last window is
            cropped at the border.
        fill: colour of the window, "mean" (zero after normalisation) or a grey level in [0, 1].

    Returns:
        (N, H, W) float32 in [-1, 1]; negative where hiding raises the probability.

    Raises:
        InvalidInputError: for options out of range or a target that the model does not have.

    Source: Zeiler & Fergus, ECCV 2014, occlusion sensitivity.
    Differs: the map shows the drop, not the probability, assigned to all pixels of the window, so
        that it has the image's size. The paper gives no sizes; the defaults hide 1/16 of the image
        at 49 positions at every resolution.
    """
    rows, columns = (_covers(side, images, window, stride) for side in images.shape[2:])
    no_rows = rows.new_zeros(1, rows.shape[1])
    rows_or_none = torch.cat([rows, no_rows])  # the last state hides nothing
    colour = fill_colour(fill, model, images)
    images = images.contiguous(memory_format=torch.channels_last)  # faster on a CPU

    def make(image: Tensor, state: Tensor) -> Tensor:
        across = columns[state % len(columns)][:, None, :]
        down = rows_or_none[state // len(columns)][:, :, None]
        return torch.where((down & across)[:, None], colour, images[image])

    num_states = len(rows) * len(columns) + 1
    micro_batch = min(default_micro_batch(images), num_states)
    scores = scores_in_states(model, images, targets, num_states, make, micro_batch=micro_batch)
    drops = (scores[:, -1:] - scores[:, :-1]).view(-1, len(rows), len(columns))
    down, across = rows.to(drops), columns.to(drops)
    num_covers = down.sum(0)[:, None] * across.sum(0)
    return torch.einsum("npq,ph,qw->nhw", drops, down, across) / num_covers


def _covers(length: int, images: Tensor, window: float, stride: float) -> Tensor:
    """Pixels of one axis that each window hides, (windows, length) bool."""
    window_px, stride_px = _sizes_px((images.shape[2], images.shape[3]), window, stride)
    starts = torch.arange(_num_windows(length, window_px, stride_px), device=images.device)
    offsets = torch.arange(length, device=images.device) - starts[:, None] * stride_px
    return (offsets >= 0) & (offsets < window_px)


def _sizes_px(image_size: tuple[int, int], window: float, stride: float) -> tuple[int, int]:
    if not 0 < stride <= window <= 1:
        raise InvalidInputError(
            "window, stride: expected shares of the side with 0 < stride <= window <= 1, "
            f"got {window} and {stride}"
        )
    shorter = min(image_size)
    return max(1, round(window * shorter)), max(1, round(stride * shorter))


def _num_windows(length: int, window_px: int, stride_px: int) -> int:
    return math.ceil((length - window_px) / stride_px) + 1
