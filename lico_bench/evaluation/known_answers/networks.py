"""Networks whose reasons can be written down: a constant, a weighted sum, detectors of colour."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lico_bench.models import Classifier
from lico_bench.runtime import make_generator

SIZE = 32
MEAN_RGB = (0.485, 0.456, 0.406)


class ConstantNetwork(nn.Module):
    """The same logits (N, 2) for every image: no map can be better than another."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.3, 1.0]))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 2)."""
        return self.logits.expand(len(images), -1)


class LinearNetwork(nn.Module):
    """Logits (0, <w, x> + b): what a pixel contributes is its weight times its value.

    The ReLU in front leaves images as they are; some methods look for one.

    Args:
        weight: (H, W), the same for the three colours.
        bias: b.
    """

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.tensor(bias))
        self.rectify = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 2)."""
        inputs = (self.rectify(images).sum(1) * self.weight).flatten(1).sum(1) + self.bias
        return torch.stack([torch.zeros_like(inputs), inputs], dim=1)

    def contributions(self, images: Tensor, start: Tensor) -> Tensor:
        """(N, H, W), what each pixel adds to the logit where `start` gives way to `images`."""
        return ((images - start).sum(1) * self.weight).detach()


@dataclass(frozen=True)
class LinearCase:
    """A linear network that is in doubt about its images, and those images (N, 3, H, W)."""

    network: LinearNetwork
    images: Tensor
    targets: Tensor


def linear_case(num_images: int, *, is_even: bool, seed: int = 0) -> LinearCase:
    """A linear network with two bumps of weight off the middle.

    Args:
        is_even: images of one colour, a step above the mean in each pixel, so that gradient,
            gradient times step and every path between them are proportional to the weight. Else
            weights and images share a fine grain, which a blur takes away, under noise: most
            pixels speak for the class, some against it.
    """
    rng = make_generator(seed, "known_answers:linear")
    mean = torch.tensor(MEAN_RGB).view(1, 3, 1, 1)
    weight = _bumps()
    step = 0.2 * torch.ones(num_images, 1, SIZE, SIZE)
    if not is_even:
        grain = (torch.rand(SIZE, SIZE, generator=rng) < 0.5).float()
        noise = 0.2 * torch.rand(num_images, 1, SIZE, SIZE, generator=rng)
        weight, step = weight * grain, 0.3 * grain - 0.12 + noise
    images = (mean + step).clamp(0, 1)
    inputs = ((images - mean).sum(1) * weight).flatten(1).sum(1).mean()
    weight = 4 * weight / inputs  # from -2 for the mean colour to 2 for an image
    bias = -2.0 - float((mean.sum(1) * weight).sum())
    targets = torch.ones(num_images, dtype=torch.int64)
    return LinearCase(LinearNetwork(weight, bias).eval(), images, targets)


def colour_network() -> Classifier:
    """Three detectors, of red, green and blue, averaged over the image: class k is colour k.

    A detector answers where its colour exceeds the mean of the other two by more than 0.2; grey,
    black and the mean colour leave all three silent. So the pixels of a colour are the only reason
    for its class, at the explained layer and at the image alike.
    """
    detect = nn.Conv2d(3, 3, 3, padding=1)
    with torch.no_grad():
        tell = 1.5 * torch.eye(3) - 0.5
        detect.weight.copy_(tell[:, :, None, None].expand(-1, -1, 3, 3) / 9)
        detect.bias.fill_(-0.2)  # type: ignore[union-attr]
    network = Classifier(
        nn.Sequential(detect, nn.ReLU(), nn.AvgPool2d(2)),
        channels=3,
        num_classes=3,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    with torch.no_grad():
        network.head.weight.copy_(40 * torch.eye(3))
        network.head.bias.zero_()
    return network.eval()


@dataclass(frozen=True)
class ColourCase:
    """Images with a red and a green square, and where each is.

    Attributes:
        images: (N, 3, H, W).
        squares: (2, N, H, W) bool, the red ones and the green ones.
    """

    network: Classifier
    images: Tensor
    squares: Tensor


def colour_case(num_images: int, *, seed: int = 0) -> ColourCase:
    """Grey, slightly noisy images with two squares of 8 px, one in each half."""
    rng = make_generator(seed, "known_answers:colour")
    images = 0.5 + 0.03 * torch.randn(num_images, 3, SIZE, SIZE, generator=rng)
    squares = torch.zeros(2, num_images, SIZE, SIZE, dtype=torch.bool)
    sides = torch.randint(2, (num_images,), generator=rng).tolist()
    for i, side in enumerate(sides):
        for colour in range(2):
            left = int(torch.randint(2, 7, (1,), generator=rng)) + 16 * ((colour + side) % 2)
            top = int(torch.randint(2, SIZE - 10, (1,), generator=rng))
            squares[colour, i, top : top + 8, left : left + 8] = True
            for channel in range(3):
                value = 0.85 if channel == colour else 0.1
                images[i, channel, top : top + 8, left : left + 8] = value
    return ColourCase(colour_network(), images.clamp(0, 1), squares)


def _bumps() -> Tensor:
    axis = torch.linspace(-1, 1, SIZE)
    y, x = axis[:, None], axis[None, :]
    first = torch.exp(-((y + 0.5) ** 2 + (x - 0.4) ** 2) / 0.08)
    second = 0.6 * torch.exp(-((y - 0.6) ** 2 + (x + 0.5) ** 2) / 0.05)
    return first + second + 0.02
