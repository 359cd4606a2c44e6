"""Blurred images: separable filters with mirrored borders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def blur(images: Tensor, *, sigma_px: float, radius_px: int) -> Tensor:
    """Images after a Gaussian, cut off at `radius_px`, with mirrored borders.

    Args:
        images: (N, 3, H, W).

    Returns:
        (N, 3, H, W) in the range of the input.
    """
    kernel = gaussian(sigma_px, radius_px).to(images)
    return filtered(F.pad(images, (radius_px,) * 4, mode="reflect"), kernel).clamp(0, 1)


def gaussian(sigma_px: float, radius_px: int) -> Tensor:
    """(2 r + 1,) weights of a Gaussian cut off at `radius_px`, summing to 1."""
    offsets = torch.arange(-radius_px, radius_px + 1, dtype=torch.float32)
    weights = torch.exp(-(offsets**2) / (2 * sigma_px**2))
    return weights / weights.sum()


def filtered(padded: Tensor, kernel: Tensor) -> Tensor:
    """Images (N, 3, H + 2 r, W + 2 r) after a filter (2 r + 1,) along both axes, (N, 3, H, W)."""
    planes = padded.reshape(-1, 1, *padded.shape[2:])
    rows = F.conv2d(planes, kernel.view(1, 1, -1, 1))
    planes = F.conv2d(rows, kernel.view(1, 1, 1, -1))
    return planes.view(*padded.shape[:2], *planes.shape[2:])
