"""Maps whose merit is known before any metric is asked: the true reason, nothing, noise.

The explainers among them answer every image without a model; what a metric says of them is known.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.runtime import make_generator

BORDER_SIGMA_PX = 1.5
FAR_SHARE = 0.001  # of the height: orders what lies outside, hardly any mass


def break_ties(regions: Tensor) -> Tensor:
    """(N, H, W) in [0, 1]: highest deep inside a region, at least half at its border, tiny outside.

    No pixel outside comes before one inside. What is outside is ordered by its distance, so that
    few ranks are tied.
    """
    mask = regions.float()[:, None]
    depth = _blurred(mask, BORDER_SIGMA_PX)
    nearness = _blurred(mask, regions.shape[-1] / 4)
    height, width = regions.shape[1:]
    # A disc on the pixel grid has four equal middles; reading order decides between them.
    order = torch.linspace(1, 0, height * width).view(height, width)
    maps = mask * (1 + depth) / 2 + FAR_SHARE * (nearness + 0.1 * order)
    return maps[:, 0] / (1 + 2 * FAR_SHARE)


def halves(region: Tensor) -> Tensor:
    """(2, H, W) bool: a region cut into a left and a right part, as if it were two objects."""
    columns = torch.arange(region.shape[1])
    middle = columns[region.any(0)].float().mean() if region.any() else torch.tensor(0.0)
    is_left = (columns <= middle)[None, :]
    return torch.stack([region & is_left, region & ~is_left])


def flat_maps(images: Tensor) -> Tensor:
    """(N, H, W) of ones: maps that rank nothing."""
    return torch.ones(len(images), *images.shape[2:], device=images.device)


def noise_maps(images: Tensor, seed: int) -> Tensor:
    """(N, H, W) standard normal: values of both signs, another map for each place in the batch."""
    shape = (len(images), *images.shape[2:])
    return torch.randn(shape, generator=make_generator(seed, "known_answers:noise"))


def steady_explainer(_network: nn.Module, images: Tensor, _targets: Tensor) -> Tensor:
    """One and the same map, whatever the image: nothing can shake it."""
    height, width = images.shape[2:]
    y = torch.linspace(-1, 1, height)[:, None] - 0.3
    x = torch.linspace(-1, 1, width)[None, :] + 0.2
    return torch.exp(-3 * (y**2 + x**2)).expand(len(images), -1, -1).clone().to(images)


def brightness_explainer(_network: nn.Module, images: Tensor, _targets: Tensor) -> Tensor:
    """The brightness of each pixel: the map of a moved image is the moved map."""
    return images.mean(dim=1)


def _blurred(images: Tensor, sigma: float) -> Tensor:
    radius = min(int(3 * sigma), images.shape[-1] - 1)
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    rows = F.conv2d(images, kernel.view(1, 1, -1, 1), padding=(radius, 0))
    return F.conv2d(rows, kernel.view(1, 1, 1, -1), padding=(0, radius))
