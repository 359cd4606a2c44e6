"""A small network that classifies colours, its images, and metric inputs."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from lico_bench.metrics import PROTOCOLS, MetricInputs
from lico_bench.saliency import explain

SIDE = 16
NUM_IMAGES = 7
STEPS = 60


class ColourNet(nn.Module):
    """Two convolutions with normalisation and a linear layer: four stages of randomisation."""

    explanation_layer = "conv2"

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.head = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.conv1(images)).relu()
        return self.head(self.conv2(maps).relu().mean((2, 3)))


def colour_images(count: int, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Grey noise with one coloured square: images, classes and the squares as regions."""
    rng = torch.Generator().manual_seed(seed)
    images = 0.3 + 0.2 * torch.rand(count, 3, SIDE, SIDE, generator=rng)
    labels = torch.randint(3, (count,), generator=rng)
    regions = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    corners = torch.randint(SIDE - 5, (count, 2), generator=rng)
    for row, (y, x) in enumerate(corners.tolist()):
        regions[row, y : y + 5, x : x + 5] = True
        images[row, labels[row], y : y + 5, x : x + 5] += 0.5
    return images, labels, regions


@cache
def trained_net() -> ColourNet:
    """The network after one second of training; it classifies nearly all images correctly."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ColourNet()
    images, labels, _ = colour_images(96, seed=1)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(STEPS):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimiser.step()
    optimiser.zero_grad()
    return net.eval()


def inputs_of(
    method: str = "grad_cam",
    *,
    rows: slice = slice(None),
    maps: Tensor | None = None,
    seed: int = 0,
) -> MetricInputs:
    """Metric inputs for a selection of seven images; `maps` replaces the method's maps."""
    net = trained_net()
    images, labels, regions = (part[rows] for part in colour_images(NUM_IMAGES))
    return MetricInputs(
        net,
        images,
        labels,
        explain(net, images, labels, method=method) if maps is None else maps[rows],
        regions,
        PROTOCOLS["lico_bench_1"],
        network=net,
        explainer=lambda model, x, y: explain(model, x, y, method=method),
        image_ids=tuple(f"picture-{number}" for number in range(NUM_IMAGES))[rows],
        seed=seed,
    )


def in_batches(compute, size: int, **case) -> Tensor:  # type: ignore[no-untyped-def]
    """Values of a metric for the seven images in batches of `size`."""
    return torch.cat(
        [
            compute(inputs_of(rows=slice(start, start + size), **case))
            for start in range(0, NUM_IMAGES, size)
        ]
    )
