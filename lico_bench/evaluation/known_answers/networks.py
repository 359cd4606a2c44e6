"""Networks with a known explanation (constant, linear, colour detectors); curves in closed form."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lico_bench.evaluation.known_answers.scene import noise_maps
from lico_bench.metrics import PROTOCOLS, Curves, MetricInputs, area_under
from lico_bench.metrics.insertion_deletion import SHARED_NAMES
from lico_bench.metrics.perturbation import insertion_baseline
from lico_bench.models import Classifier
from lico_bench.records import IMAGENET_MEAN as MEAN_RGB
from lico_bench.runtime import make_generator

SIZE = 32
NUM_IMAGES = 8
PROTOCOL = PROTOCOLS["lico_bench_1"]
MAPS = ("contributions", "noise", "negated")  # from best to worst


class LinearNetwork(nn.Module):
    """Logits (0, <w, x> + b); a pixel contributes its weight times its value.

    The ReLU in front does not change images in [0, 1]; guided backpropagation requires one.

    Args:
        weight: (H, W), shared by the three channels.
    """

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.tensor(bias))
        self.rectify = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """(N, 2)."""
        logits = (self.rectify(images).sum(1) * self.weight).flatten(1).sum(1) + self.bias
        return torch.stack([torch.zeros_like(logits), logits], dim=1)

    def contributions(self, images: Tensor, start: Tensor) -> Tensor:
        """Change (N, H, W) of the logit by each pixel when `images` replaces `start`."""
        return ((images - start).sum(1) * self.weight).detach()


class LinearCase(NamedTuple):
    """A linear network and images (N, 3, H, W) with logits near the decision boundary."""

    network: LinearNetwork
    images: Tensor
    targets: Tensor


def linear_case(num_images: int, *, is_uniform: bool, seed: int = 0) -> LinearCase:
    """A linear network whose weight has two bumps off the centre.

    Args:
        is_uniform: every image is the mean colour plus one constant, so that the gradient, gradient
            times input and integrated gradients are proportional to the weight. Otherwise weights
            and noisy images share a fine grain that a blur removes; most pixels are evidence for
            the class, some against it.
    """
    rng = make_generator(seed, "known_answers:linear")
    mean = torch.tensor(MEAN_RGB).view(1, 3, 1, 1)
    weight = _bumps()
    step = 0.2 * torch.ones(num_images, 1, SIZE, SIZE)
    if not is_uniform:
        grain = (torch.rand(SIZE, SIZE, generator=rng) < 0.5).float()
        noise = 0.2 * torch.rand(num_images, 1, SIZE, SIZE, generator=rng)
        weight, step = weight * grain, 0.3 * grain - 0.12 + noise
    images = (mean + step).clamp(0, 1)
    gain = ((images - mean).sum(1) * weight).flatten(1).sum(1).mean()
    weight = 4 * weight / gain  # logits: -2 for the mean colour, 2 for an average image
    bias = -2.0 - float((mean.sum(1) * weight).sum())
    targets = torch.ones(num_images, dtype=torch.int64)
    return LinearCase(LinearNetwork(weight, bias).eval(), images, targets)


def _bumps() -> Tensor:
    axis = torch.linspace(-1, 1, SIZE)
    y, x = axis[:, None], axis[None, :]
    first = torch.exp(-((y + 0.5) ** 2 + (x - 0.4) ** 2) / 0.08)
    second = 0.6 * torch.exp(-((y - 0.6) ** 2 + (x + 0.5) ** 2) / 0.05)
    return first + second + 0.02


def colour_network() -> Classifier:
    """Detectors of red, green and blue, averaged over the image; class k is colour k.

    A detector is active where its colour exceeds the mean of the other two by more than 0.2; grey,
    black and the mean colour activate none. Only pixels of a colour are evidence for its class, in
    the explained layer and in the image.
    """
    detect = nn.Conv2d(3, 3, 3, padding=1)
    with torch.no_grad():
        contrast = 1.5 * torch.eye(3) - 0.5
        detect.weight.copy_(contrast[:, :, None, None].expand(-1, -1, 3, 3) / 9)
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


class ColourCase(NamedTuple):
    """Images with a red and a green square, and the positions of the squares.

    Attributes:
        images: (N, 3, H, W).
        squares: (2, N, H, W) bool, red squares and green squares.
    """

    network: Classifier
    images: Tensor
    squares: Tensor


def colour_case(num_images: int, *, seed: int = 0) -> ColourCase:
    """Grey, slightly noisy images with two squares of 8 px, one per half."""
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


@lru_cache(maxsize=1)
def _case() -> LinearCase:
    return linear_case(NUM_IMAGES, is_uniform=False)


@lru_cache(maxsize=1)
def _baselines() -> dict[str, Tensor]:
    """End state of deletion and start state of insertion, (1 or N, 3, H, W)."""
    fill = torch.tensor(MEAN_RGB).view(1, 3, 1, 1)
    return {"fill": fill, "blur": insertion_baseline(_case().images, PROTOCOL, fill=fill)}


@lru_cache(maxsize=8)
def closed_form_inputs(network: str, maps: str) -> MetricInputs:
    """Inputs for a network and maps by name; cached because metrics share costly results.

    Args:
        network: `linear`, or `constant` with the images and maps of the linear one.
        maps: one of `MAPS`, from best to worst.
    """
    case = _case()
    contributions = case.network.contributions(case.images, _baselines()["fill"])
    maps_by_name = {
        "contributions": contributions,
        "noise": noise_maps(case.images, 0),
        "negated": -contributions,
    }
    constant = LinearNetwork(torch.zeros(SIZE, SIZE), bias=0.7).eval()
    model = {"linear": case.network, "constant": constant}[network]
    return MetricInputs(
        model,
        case.images,
        case.targets,
        maps_by_name[maps],
        None,
        PROTOCOL,
        network=model,
        predicted=case.targets,
        image_ids=tuple(f"linear/{i}" for i in range(len(case.images))),
        mean_rgb=MEAN_RGB,
    )


@lru_cache(maxsize=1)
def closed_form_curves() -> MetricInputs:
    """Inputs of the linear network's contributions with curves computed in closed form."""
    inputs = replace(closed_form_inputs("linear", "contributions"))
    order = inputs.maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    inputs.shared.once(SHARED_NAMES["most"], lambda: _curves(order))
    inputs.shared.once(SHARED_NAMES["least"], lambda: _curves(order.flip(1)))
    return inputs


def _curves(order: Tensor) -> Curves:
    """Curves σ(b + Σ contributions of the visible pixels) after 0, P/K, 2P/K, ... pixels."""
    case, baselines = _case(), _baselines()
    num_pixels, steps = order.shape[1], PROTOCOL.steps or 0
    counts = torch.arange(steps + 1) * num_pixels // steps
    scores = {}
    for name, sign, first in (("fill", -1, case.images), ("blur", 1, baselines["blur"])):
        contributions = case.network.contributions(case.images, baselines[name])
        ordered = contributions.flatten(1).double().gather(1, order).cumsum(1)
        sums = torch.cat([torch.zeros_like(ordered[:, :1]), ordered], 1)[:, counts]
        with torch.no_grad():
            logit = case.network(first.double())[:, 1:]
        scores[name] = torch.sigmoid(logit + sign * sums).float()
    fractions = counts / num_pixels
    return Curves(
        fractions=fractions,
        insertion=scores["blur"],
        deletion=scores["fill"],
        insertion_auc=area_under(scores["blur"], fractions),
        deletion_auc=area_under(scores["fill"], fractions),
        forwards=0,
    )
