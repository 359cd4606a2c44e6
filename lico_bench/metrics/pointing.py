"""The pointing game: does the peak of a map lie on the object, within a tolerance?

As a metric, the tolerance is relative to the image, or in pixels as published. A row is one image,
so that the mean over rows is the micro average. The published score is the mean of the class means,
`stats.class_macro`.

Source: Zhang et al., IJCV 2018 (excitation backpropagation).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lico_bench.checks import check_not_negative
from lico_bench.errors import InvalidInputError
from lico_bench.metrics.metric import MetricInputs, add_metric

# The published 15 px are 2 % of a 640 px side and half of a 32 px side; this is the share at 224.
TOLERANCE_FRAC = 15 / 224
TOLERANCE_PX = 15.0
PITFALLS = "only the peak counts; peaks shared by several pixels and flat maps are misses"


def pointing_game(maps: Tensor, regions: Tensor, *, tolerance_px: float) -> Tensor:
    """1 if the peak of a map lies on its region or within the tolerance, otherwise 0.

    Args:
        maps: (N, H, W) float, finite.
        regions: (N, H, W) bool, the object.
        tolerance_px: a peak closer to the region than this is a hit; distances are between
            pixel centres.

    Returns:
        (N,) float32: 1 for a hit, 0 for a miss, NaN if the region is empty. Flat maps and peaks
        shared by several pixels are misses.

    Raises:
        InvalidInputError: for mismatched shapes or a negative tolerance.

    Source: Zhang et al., IJCV 2018; the distance must be strictly below the tolerance, as in the
    published evaluations. Differs: ties are misses, where others use the first maximum.
    """
    check_not_negative("tolerance_px", tolerance_px)
    if maps.ndim != 3 or maps.shape != regions.shape or regions.dtype != torch.bool:
        raise InvalidInputError(
            "pointing_game: expected maps (N, H, W) and bool regions of the same shape, "
            f"got {tuple(maps.shape)} and {tuple(regions.shape)} {regions.dtype}"
        )
    flat = maps.flatten(1)
    peak, position = flat.max(dim=1)
    is_unique = (flat == peak[:, None]).sum(1) == 1
    width = maps.shape[2]
    row, column = position // width, position % width
    y = torch.arange(maps.shape[1], device=maps.device)
    x = torch.arange(width, device=maps.device)
    squared = (y - row[:, None])[:, :, None] ** 2 + (x - column[:, None])[:, None, :] ** 2
    is_near = (squared < tolerance_px**2) | (squared == 0)
    hits = (is_near & regions).flatten(1).any(1) & is_unique
    return torch.where(regions.flatten(1).any(1), hits.float(), torch.nan)


_add = partial(
    add_metric,
    higher_is_better=True,
    bounds=(0.0, 1.0),
    unit="share of hits",
    source="Zhang et al., IJCV 2018",
    needs=("maps", "regions"),
    category="localisation",
)


@_add("pointing_game", title="Pointing game", pitfalls=PITFALLS)
def relative_pointing_game(
    inputs: MetricInputs, *, tolerance_frac: float = TOLERANCE_FRAC
) -> Tensor:
    """Pointing game hits with a tolerance relative to the shorter side, (N,)."""
    tolerance_px = tolerance_frac * min(inputs.maps.shape[1:])
    return pointing_game(inputs.maps, inputs.known_regions, tolerance_px=tolerance_px)


@_add(
    "pointing_game_15px",
    title="Pointing game, 15 px",
    pitfalls=f"15 px are half of a 32 px image; meaningful from 200 px; {PITFALLS}",
)
def absolute_pointing_game(inputs: MetricInputs, *, tolerance_px: float = TOLERANCE_PX) -> Tensor:
    """Pointing game hits with a tolerance in pixels of the model's input image, (N,).

    Differs: the source first resizes the map to the stored image, where 15 px are a smaller share.
    """
    return pointing_game(inputs.maps, inputs.known_regions, tolerance_px=tolerance_px)
