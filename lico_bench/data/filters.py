"""Gaussian blur and separable filters with reflected borders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def blur(images: Tensor, *, sigma_px: float, radius_px: int) -> Tensor:
    """Blur images with a Gaussian truncated at `radius_px`; borders are reflected.

    Args:
        images: (N, 3, H, W).

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    kernel = gaussian(sigma_px, radius_px).to(images)
    return filtered(F.pad(images, (radius_px,) * 4, mode="reflect"), kernel).clamp(0, 1)


def gaussian(sigma_px: float, radius_px: int) -> Tensor:
    """Return the weights of a Gaussian truncated at r = `radius_px`, (2 r + 1,), summing to 1."""
    offsets = torch.arange(-radius_px, radius_px + 1, dtype=torch.float32)
    weights = torch.exp(-(offsets**2) / (2 * sigma_px**2))
    return weights / weights.sum()


def filtered(padded: Tensor, kernel: Tensor) -> Tensor:
    """Filter padded images along both axes.

    Args:
        padded: (N, 3, H + 2 r, W + 2 r).
        kernel: (2 r + 1,).

    Returns:
        (N, 3, H, W).
    """
    planes = padded.reshape(-1, 1, *padded.shape[2:])
    rows = F.conv2d(planes, kernel.view(1, 1, -1, 1))
    planes = F.conv2d(rows, kernel.view(1, 1, 1, -1))
    return planes.view(*padded.shape[:2], *planes.shape[2:])
