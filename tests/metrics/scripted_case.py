"""A network for normalised images as published scripts take it, and an image with a map."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from lico_bench.records import IMAGENET_MEAN

MEAN = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
STD = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)


class Normalised(nn.Module):
    """A small network that takes normalised images, as the published scripts hand them over."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 5, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5),
        )  # fmt: skip
        with torch.no_grad():
            self.layers[-1].weight.mul_(40)

    def forward(self, normalised):
        return self.layers(normalised)


def bare(network):
    """The same network for images in [0, 1]."""
    return lambda images: network((images - MEAN) / STD)


def picture(size: int, seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, size // 4, size // 4, generator=rng)
    return F.interpolate(coarse, (size, size), mode="bilinear"), torch.rand(
        size, size, generator=rng
    )
