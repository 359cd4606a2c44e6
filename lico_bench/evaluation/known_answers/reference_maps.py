"""Maps with a known merit: the deciding region, a flat map, noise, and model-free explainers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.runtime import make_generator

BORDER_SIGMA_PX = 1.5
FAR_SHARE = 0.001  # of the height: orders the pixels outside with almost no mass


def break_ties(regions: Tensor) -> Tensor:
    """Maps (N, H, W) in [0, 1]: highest inside a region, near 0.5 at its border, tiny outside.

    Every pixel inside ranks above all pixels outside. Pixels outside are ordered by distance, so
    that few ranks are tied.
    """
    mask = regions.float()[:, None]
    depth = _gaussian_blur(mask, BORDER_SIGMA_PX)
    nearness = _gaussian_blur(mask, regions.shape[-1] / 4)
    height, width = regions.shape[1:]
    # A disc on the pixel grid has four equal centre pixels; row-major order breaks the tie.
    order = torch.linspace(1, 0, height * width).view(height, width)
    maps = mask * (1 + depth) / 2 + FAR_SHARE * (nearness + 0.1 * order)
    return maps[:, 0] / (1 + 2 * FAR_SHARE)


def split_in_halves(region: Tensor) -> Tensor:
    """Split a region into a left and a right half, (2, H, W) bool, to simulate two objects."""
    columns = torch.arange(region.shape[1])
    middle = columns[region.any(0)].float().mean() if region.any() else torch.tensor(0.0)
    is_left = (columns <= middle)[None, :]
    return torch.stack([region & is_left, region & ~is_left])


def flat_maps(images: Tensor) -> Tensor:
    """Maps (N, H, W) of ones, which rank no pixel above another."""
    return torch.ones(len(images), *images.shape[2:], device=images.device)


def noise_maps(images: Tensor, seed: int) -> Tensor:
    """Maps (N, H, W) of standard normal noise; each batch position has its own draw."""
    shape = (len(images), *images.shape[2:])
    return torch.randn(shape, generator=make_generator(seed, "known_answers:noise"))


def constant_explainer(_network: nn.Module, images: Tensor, _targets: Tensor) -> Tensor:
    """The same map for every image, so that no perturbation changes it."""
    height, width = images.shape[2:]
    y = torch.linspace(-1, 1, height)[:, None] - 0.3
    x = torch.linspace(-1, 1, width)[None, :] + 0.2
    return torch.exp(-3 * (y**2 + x**2)).expand(len(images), -1, -1).clone().to(images)


def brightness_explainer(_network: nn.Module, images: Tensor, _targets: Tensor) -> Tensor:
    """The brightness of each pixel; the map is equivariant to transformations of the image."""
    return images.mean(dim=1)


def _gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    radius = min(int(3 * sigma), images.shape[-1] - 1)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    rows = F.conv2d(images, kernel.view(1, 1, -1, 1), padding=(radius, 0))
    return F.conv2d(rows, kernel.view(1, 1, 1, -1), padding=(0, radius))
