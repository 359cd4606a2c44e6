"""Control maps that ignore the model; a useful method must beat them."""

from __future__ import annotations

import hashlib
from functools import partial

import torch
from torch import Tensor, nn

from lico_bench.runtime import make_generator
from lico_bench.saliency import add_method

CENTER_SIGMA_FRAC = 0.25  # of the shorter side


_add = partial(add_method, source="control", family="control", cost=lambda _inputs, **_: 0.0)


@_add("random_map", title="Random map")
def random_map(_model: nn.Module, images: Tensor, _targets: Tensor, *, seed: int = 0) -> Tensor:
    """Uniform noise in [0, 1).

    The seed depends on the image's bytes, so every batch and model gets the same map.
    """
    height, width = images.shape[2:]
    maps = []
    for image in images.detach().cpu().contiguous():
        content = hashlib.sha256(image.numpy().tobytes()).hexdigest()
        rng = make_generator(seed, f"random_map:{content}")
        maps.append(torch.rand(height, width, generator=rng))
    return torch.stack(maps).to(images.device)


@_add("center_map", title="Centre map")
def center_map(_model: nn.Module, images: Tensor, _targets: Tensor) -> Tensor:
    """A centred Gaussian with peak value 1."""
    height, width = images.shape[2:]
    sigma = CENTER_SIGMA_FRAC * min(height, width)
    y = (torch.arange(height, device=images.device) - (height - 1) / 2) / sigma
    x = (torch.arange(width, device=images.device) - (width - 1) / 2) / sigma
    bump = torch.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / 2)
    return bump.expand(len(images), -1, -1).clone()


@_add("edge_map", title="Edge map")
def edge_map(_model: nn.Module, images: Tensor, _targets: Tensor) -> Tensor:
    """Magnitude of the brightness gradient by central differences, >= 0."""
    grey = images.mean(dim=1)
    dy, dx = torch.gradient(grey, dim=(1, 2))
    return (dy.square() + dx.square()).sqrt()
