"""Similarity of two saliency maps, by ranks or by local structure."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.checks import check_choice

SIMILARITIES = ("spearman", "ssim")
WINDOW_PX = 7
STABILISERS = (0.01**2, 0.03**2)  # C1 and C2 of the source, for values in [0, 1]


def similarity(first: Tensor, second: Tensor, kind: str) -> Tensor:
    """`rank_correlation` (`spearman`) or `structural_similarity` (`ssim`), (N,) in [-1, 1]."""
    check_choice("similarity", kind, SIMILARITIES)
    measure = rank_correlation if kind == "spearman" else structural_similarity
    return measure(first, second)


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of each pair of maps; equal values share their mean rank.

    Args:
        first, second: (N, H, W) float, finite.

    Returns:
        (N,) float32 in [-1, 1]. The correlation with a flat map is undefined: 1 if both maps are
        flat, because they are identical, and 0 if only one is.

    Source: Spearman, 1904; as a similarity of maps in Adebayo et al., NeurIPS 2018.
    """
    centred = [_mean_ranks(maps.flatten(1)) for maps in (first, second)]
    lengths = [ranks.norm(dim=1) for ranks in centred]
    aligned = (centred[0] * centred[1]).sum(1)
    is_flat = [length == 0 for length in lengths]
    defined = aligned / torch.where(is_flat[0] | is_flat[1], 1, lengths[0] * lengths[1])
    return torch.where(is_flat[0] & is_flat[1], 1, defined.clamp(-1, 1))


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Mean SSIM over all 7 px windows, with each map scaled to [0, 1].

    Args:
        first, second: (N, H, W) float, finite; the window is reduced for maps below 7 px.

    Returns:
        (N,) float32 in [-1, 1]; a flat map is scaled to zeros.

    Source: Wang et al., IEEE TIP 2004, with a box window instead of a Gaussian and unbiased
    (co)variances.
    """
    side = min(WINDOW_PX, *first.shape[1:])
    a, b = (_scaled(maps)[:, None] for maps in (first, second))

    def local(values: Tensor) -> Tensor:
        pooled: Tensor = F.avg_pool2d(values, side, stride=1)
        return pooled

    unbias = side**2 / max(side**2 - 1, 1)
    mean_a, mean_b = local(a), local(b)
    variance_a = unbias * (local(a * a) - mean_a**2)
    variance_b = unbias * (local(b * b) - mean_b**2)
    covariance = unbias * (local(a * b) - mean_a * mean_b)
    c1, c2 = STABILISERS
    ssim: Tensor = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    ssim = ssim / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
    return ssim.flatten(1).mean(1).clamp(-1, 1)


def _mean_ranks(values: Tensor) -> Tensor:
    """Centred mean ranks of each row, divided by the row's length."""
    values = values.contiguous()
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values, right=False)
    not_above = torch.searchsorted(ordered, values, right=True)
    # Twice the mean rank minus twice the centre: integers, so that a flat row is exactly 0.
    return (below + not_above - values.shape[1]).float() / values.shape[1]


def _scaled(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1)
