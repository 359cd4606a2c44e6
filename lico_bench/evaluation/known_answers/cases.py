"""Cases with a known explanation: scenes, a linear network and colour detectors.

In planted-cue scenes only a coloured mark determines the class. A network that classifies unseen
scenes correctly therefore uses the mark, and the mark is the correct explanation. The explanations
of the other two networks follow from their weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.data import load_dataset
from lico_bench.data.image_batches import filtered, gaussian
from lico_bench.errors import TrainingError
from lico_bench.metrics import PROTOCOLS, Explainer, MetricInputs
from lico_bench.metrics.metric import SharedResults
from lico_bench.models import Classifier, build_classifier, evaluating, logits_of
from lico_bench.records import IMAGENET_MEAN, Recipe
from lico_bench.registry import format_call, keyword_defaults, parse_call
from lico_bench.runtime import make_generator
from lico_bench.saliency import SALIENCY, SaliencyMethod, resolve_method
from lico_bench.training import train

DATASET = "cifar10"
BACKBONE = "wrn_10_1"
NUM_IMAGES = 48
NUM_IMAGES_QUICK = 16
SUBSET_IMAGES = 4  # images for checks that also run image by image
BORDER_SIGMA_PX = 1.5
SIZE = 32  # px, side of the images of the linear network and of the colour detectors
FAR_SHARE = 0.001  # of the height: orders the pixels outside with almost no mass


@dataclass(frozen=True)
class TrainingSpec:
    """Training settings of a variant's network and its minimum accuracy on unseen scenes.

    The hue of a mark is learned in a hundred steps; glyphs on clutter take longer.
    """

    epochs: int
    augmentation: str
    min_accuracy: float


TRAINING_SPECS = {
    "planted_cue": TrainingSpec(epochs=4, augmentation="flip", min_accuracy=0.95),
    "plain": TrainingSpec(epochs=8, augmentation="crop_flip", min_accuracy=0.80),
}

# Reduced values of the options that set the cost of a method.
REDUCED_OPTIONS: dict[str, int] = {"num_masks": 256, "num_samples": 8, "samples": 8, "steps": 8}


@dataclass
class Scene:
    """Images that a trained network classifies correctly, with the region that decides.

    Attributes:
        network: trained network in evaluation mode.
        untrained: the same architecture with random weights.
        images, targets: (N, 3, H, W) in [0, 1] and (N,) class of each image.
        regions: (N, H, W) bool, the region that decides the class.
        accuracy: accuracy of `network` on the full test split.
    """

    variant: str
    network: Classifier
    untrained: Classifier
    images: Tensor
    targets: Tensor
    regions: Tensor
    image_ids: tuple[str, ...]
    mean_rgb: tuple[float, float, float]
    accuracy: float
    seed: int
    _cache: SharedResults = field(init=False, default_factory=SharedResults)

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, start: int, stop: int) -> Scene:
        """Return the scene of images `start` to `stop`; it is cached together with its maps."""
        part = slice(start, stop)
        return self._cache.once(
            f"rows {start} to {stop}",
            lambda: replace(
                self,
                images=self.images[part],
                targets=self.targets[part],
                regions=self.regions[part],
                image_ids=self.image_ids[part],
            ),
        )

    def first(self, count: int = SUBSET_IMAGES) -> Scene:
        """Return the scene of the first `count` images."""
        return self.rows(0, count)

    @property
    def oracle(self) -> Tensor:
        """Maps (N, H, W) of the deciding region, softened so that few ranks are tied."""
        return break_ties(self.regions)

    def maps(self, method: str) -> Tensor:
        """Maps (N, H, W) by a registered method with reduced cost; cached."""
        return self._cache.once(f"maps of {method}", lambda: self.explain(method))

    def explain(self, method: str, network: nn.Module | None = None) -> Tensor:
        """Compute maps (N, H, W) by a method with reduced cost, of `self.network` by default."""
        return reduced_method(method).maps(network or self.network, self.images, self.targets)

    def inputs_of(
        self, name: str, maps: Tensor | None = None, *, explainer: Explainer | None = None
    ) -> MetricInputs:
        """Metric inputs with `maps`, or those of the method `name`.

        Cached under `name`, so that metrics share their costly results.
        """
        return self._cache.once(
            f"inputs of {name}",
            lambda: self.inputs(self.maps(name) if maps is None else maps, explainer=explainer),
        )

    def inputs(self, maps: Tensor, *, explainer: Explainer | None = None) -> MetricInputs:
        """Return metric inputs with the given maps."""
        return MetricInputs(
            self.network,
            self.images,
            self.targets,
            maps,
            self.regions,
            PROTOCOLS["lico_bench_1"],
            network=self.network,
            explainer=explainer,
            instances=[split_in_halves(region) for region in self.regions],
            predicted=self.targets,
            image_ids=self.image_ids,
            mean_rgb=self.mean_rgb,
            seed=self.seed,
        )


def reduced_method(method: str) -> SaliencyMethod:
    """Resolve a name or call, with reduced cost for options that it does not set."""
    name, given = parse_call(method)
    accepted = keyword_defaults(SALIENCY[name].compute)
    options = {key: value for key, value in REDUCED_OPTIONS.items() if key in accepted} | given
    return resolve_method(format_call(name, options))[1]


@lru_cache(maxsize=4)
def load_scene(
    variant: str = "planted_cue", *, seed: int = 0, num_images: int = NUM_IMAGES
) -> Scene:
    """Train a network and return unseen scenes that it classifies correctly; cached, seconds.

    Args:
        variant: `planted_cue` (a mark decides the class) or `plain` (the object does).
        seed: seed of the network and of all random draws.

    Raises:
        TrainingError: if the accuracy of the network is too low for meaningful maps.
    """
    training_spec = TRAINING_SPECS[variant]
    # A fixed recipe, so that changes of a dataset card or profile do not change the known answers.
    recipe = Recipe(
        DATASET, BACKBONE, "baseline", source="standin", seed=seed, epochs=training_spec.epochs,
        batch_size=64, learning_rate=0.2, augmentation=training_spec.augmentation,
    )  # fmt: skip
    network = _trained(recipe, variant)
    test = load_dataset(DATASET, "test", source="standin", variant=variant)
    images = test.images
    with evaluating(network), torch.inference_mode():
        predicted = [logits_of(network(batch)).argmax(1) for batch in torch.split(images, 64)]
    is_correct = torch.cat(predicted) == test.labels
    accuracy = float(is_correct.float().mean())
    if accuracy < training_spec.min_accuracy:
        raise TrainingError(
            f"known answers: expected an accuracy of at least {training_spec.min_accuracy} on "
            f"unseen {variant} scenes, got {accuracy:.2f}; use another --seed"
        )
    chosen = is_correct.nonzero()[:num_images, 0]
    untrained = build_classifier(
        BACKBONE, num_classes=test.num_classes, mean=test.mean, std=test.std, seed=seed + 1
    )
    return Scene(
        variant=variant,
        network=network,
        untrained=untrained.eval().requires_grad_(False),
        images=images[chosen],
        targets=test.labels[chosen],
        regions=test.read_regions(chosen),
        image_ids=tuple(test.image_ids[i] for i in chosen.tolist()),
        mean_rgb=test.mean,
        accuracy=accuracy,
        seed=seed,
    )


@lru_cache(maxsize=4)
def _trained(recipe: Recipe, variant: str) -> Classifier:
    scenes = load_dataset(DATASET, "train", source="standin", variant=variant)
    return train(recipe, dataset=scenes, device="cpu").classifier


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


def _gaussian_blur(images: Tensor, sigma_px: float) -> Tensor:
    radius_px = min(int(3 * sigma_px), images.shape[-1] - 1)
    return filtered(F.pad(images, (radius_px,) * 4), gaussian(sigma_px, radius_px))


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
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
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
