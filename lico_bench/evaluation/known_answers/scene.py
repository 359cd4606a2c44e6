"""Scenes with a known deciding region, a network trained on them, and oracle maps.

In planted-cue scenes only a coloured mark determines the class. A network that classifies unseen
scenes correctly therefore uses the mark, and the mark is the correct explanation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor

from lico_bench.data import Dataset, load_dataset
from lico_bench.errors import TrainingError
from lico_bench.evaluation.known_answers.reference_maps import break_ties, split_in_halves
from lico_bench.metrics import PROTOCOLS, MetricInputs
from lico_bench.models import Classifier, build_classifier, evaluating, logits_of
from lico_bench.records import Protocol, Recipe
from lico_bench.registry import check_options, format_call, keyword_defaults, parse_call
from lico_bench.saliency import SALIENCY, explain
from lico_bench.training import train

DATASET = "cifar10"
BACKBONE = "wrn_10_1"
NUM_IMAGES = 48
NUM_IMAGES_QUICK = 16
SUBSET_IMAGES = 4  # images for checks that also run image by image


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
    protocol: Protocol = PROTOCOLS["lico_bench_1"]
    _maps: dict[str, Tensor] = field(default_factory=dict)
    _inputs: dict[str, MetricInputs] = field(default_factory=dict)
    _parts: dict[tuple[int, int], Scene] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, start: int, stop: int) -> Scene:
        """Return the scene of images `start` to `stop`; it is cached together with its maps."""
        if (start, stop) not in self._parts:
            self._parts[start, stop] = replace(
                self,
                images=self.images[start:stop],
                targets=self.targets[start:stop],
                regions=self.regions[start:stop],
                image_ids=self.image_ids[start:stop],
                _maps={},
                _inputs={},
                _parts={},
            )
        return self._parts[start, stop]

    def first(self, count: int = SUBSET_IMAGES) -> Scene:
        """Return the scene of the first `count` images."""
        return self.rows(0, count)

    @property
    def oracle(self) -> Tensor:
        """Maps (N, H, W) of the deciding region, softened so that few ranks are tied."""
        return break_ties(self.regions)

    def maps(self, method: str) -> Tensor:
        """Maps (N, H, W) by a registered method with reduced cost; cached."""
        if method not in self._maps:
            self._maps[method] = explain(
                self.network, self.images, self.targets, method=with_reduced_cost(method)
            )
        return self._maps[method]

    def inputs_of(self, method: str) -> MetricInputs:
        """Cached metric inputs with a method's maps."""
        return self.cached_inputs(method, lambda: self.maps(method))

    def cached_inputs(self, name: str, make_maps: Callable[[], Tensor]) -> MetricInputs:
        """Metric inputs cached under `name`, so that metrics share their costly results."""
        if name not in self._inputs:
            self._inputs[name] = self.inputs(make_maps())
        return self._inputs[name]

    def inputs(self, maps: Tensor) -> MetricInputs:
        """Return metric inputs with the given maps."""
        return MetricInputs(
            self.network,
            self.images,
            self.targets,
            maps,
            self.regions,
            self.protocol,
            network=self.network,
            instances=[split_in_halves(region) for region in self.regions],
            predicted=self.targets,
            image_ids=self.image_ids,
            mean_rgb=self.mean_rgb,
            seed=self.seed,
        )


def with_reduced_cost(method: str) -> str:
    """Add reduced-cost options to a call: `rise` becomes `rise(num_masks=256)`.

    Options that `method` sets are kept.
    """
    name, given = parse_call(method)
    accepted = keyword_defaults(SALIENCY[name].compute)
    check_options(f"method '{name}'", SALIENCY[name].compute, given)
    options = {key: value for key, value in REDUCED_OPTIONS.items() if key in accepted} | given
    return format_call(name, options)


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
    network = _trained(variant, seed)
    test = load_dataset(DATASET, "test", source="standin", variant=variant)
    images = test.images
    with evaluating(network), torch.inference_mode():
        predicted = [logits_of(network(batch)).argmax(1) for batch in torch.split(images, 64)]
    is_correct = torch.cat(predicted) == test.labels
    accuracy = float(is_correct.float().mean())
    minimum = TRAINING_SPECS[variant].min_accuracy
    if accuracy < minimum:
        raise TrainingError(
            f"known answers: expected an accuracy of at least {minimum} on unseen {variant} "
            f"scenes, got {accuracy:.2f}; use another --seed"
        )
    chosen = is_correct.nonzero()[:num_images, 0]
    return Scene(
        variant=variant,
        network=network,
        untrained=_untrained(test, seed),
        images=images[chosen],
        targets=test.labels[chosen],
        regions=test.read_regions(chosen),
        image_ids=tuple(test.image_ids[i] for i in chosen.tolist()),
        mean_rgb=test.mean,
        accuracy=accuracy,
        seed=seed,
    )


@lru_cache(maxsize=4)
def _trained(variant: str, seed: int) -> Classifier:
    training_spec = TRAINING_SPECS[variant]
    # A fixed recipe, so that changes of a dataset card or profile do not change the known answers.
    recipe = Recipe(
        DATASET, BACKBONE, "baseline", source="standin", seed=seed, epochs=training_spec.epochs,
        batch_size=64, learning_rate=0.2, augmentation=training_spec.augmentation,
    )  # fmt: skip
    scenes = load_dataset(DATASET, "train", source="standin", variant=variant)
    return train(recipe, dataset=scenes, device="cpu").classifier


def _untrained(dataset: Dataset, seed: int) -> Classifier:
    network = build_classifier(
        BACKBONE, num_classes=dataset.num_classes, mean=dataset.mean, std=dataset.std,
        seed=seed + 1,
    )  # fmt: skip
    return network.eval().requires_grad_(False)
