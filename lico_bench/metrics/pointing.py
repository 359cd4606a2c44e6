"""Does the peak of a map fall on the object? The pointing game, with a tolerance.

Source: Zhang et al., IJCV 2018 (excitation backpropagation).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lico_bench.checks import check_not_negative
from lico_bench.errors import InvalidInputError


def pointing_game(maps: Tensor, regions: Tensor, *, tolerance_px: float) -> Tensor:
    """1 where the largest value of a map lies on its region or within the tolerance, else 0.

    Args:
        maps: (N, H, W) float, finite.
        regions: (N, H, W) bool, the object.
        tolerance_px: a peak nearer to the region than this, centre to centre, is a hit.

    Returns:
        (N,) float32: 1 hit, 0 miss, NaN where the region is empty (skipped). A flat map and a peak
        shared by several pixels point nowhere: a miss.

    Raises:
        InvalidInputError: for shapes that do not fit or a negative tolerance.

    Source: Zhang et al., IJCV 2018; the distance rule (strictly below the tolerance) as in the
    published evaluations. Differs: ties miss, where others take the first maximum.
    """
    check_not_negative("tolerance_px", tolerance_px)
    if maps.ndim != 3 or maps.shape != regions.shape or regions.dtype != torch.bool:
        raise InvalidInputError(
            "pointing_game: expected maps (N, H, W) and bool regions of the same shape, "
            f"got {tuple(maps.shape)} and {tuple(regions.shape)} {regions.dtype}"
        )
    flat = maps.flatten(1)
    peak, place = flat.max(dim=1)
    is_unique = (flat == peak[:, None]).sum(1) == 1
    width = maps.shape[2]
    row, column = place // width, place % width
    y = torch.arange(maps.shape[1], device=maps.device)
    x = torch.arange(width, device=maps.device)
    squared = (y - row[:, None])[:, :, None] ** 2 + (x - column[:, None])[:, None, :] ** 2
    is_near = (squared < tolerance_px**2) | (squared == 0)
    hits = (is_near & regions).flatten(1).any(1) & is_unique
    return torch.where(regions.flatten(1).any(1), hits.float(), torch.nan)
