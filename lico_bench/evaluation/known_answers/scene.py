"""Images whose reason is known, a network that learned them, and the maps that mark the reason.

In planted-cue scenes a coloured mark tells the class and nothing else does: a network that gets
unseen scenes right looks at the mark, so the mark is the true explanation and can be compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor

from lico_bench.data import Dataset, load_dataset
from lico_bench.errors import TrainingError
from lico_bench.evaluation.known_answers.reference_maps import break_ties, halves
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
FIRST = 4  # images for what is asked one by one


@dataclass(frozen=True)
class TrainingSpec:
    """How the network of a variant is trained, and how well it must do on unseen scenes.

    A mark's hue is read in a hundred steps; glyphs on clutter take longer.
    """

    epochs: int
    augmentation: str
    least_accuracy: float


TRAINING_SPECS = {
    "planted_cue": TrainingSpec(epochs=4, augmentation="flip", least_accuracy=0.95),
    "plain": TrainingSpec(epochs=8, augmentation="crop_flip", least_accuracy=0.80),
}

# Methods that are told how much to compute are told little: by the name of the option.
CHEAPER: dict[str, int] = {"num_masks": 256, "num_samples": 8, "samples": 8, "steps": 8}


@dataclass
class Scene:
    """Images that a trained network gets right, with the region that decides.

    Attributes:
        network: in evaluation mode.
        stranger: the same architecture with fresh weights: it knows nothing.
        images, targets: (N, 3, H, W) in [0, 1] and (N,) the class of each.
        regions: (N, H, W) bool, what decides the class.
        accuracy: of the network on the whole test split.
    """

    variant: str
    network: Classifier
    stranger: Classifier
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
        """The same with some of its images; kept, so that what was made for it is too."""
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

    def first(self, count: int = FIRST) -> Scene:
        """The same with its first images only."""
        return self.rows(0, count)

    @property
    def oracle(self) -> Tensor:
        """(N, H, W) maps of the true reason: the region, softened so that few ranks are tied."""
        return break_ties(self.regions)

    def maps(self, method: str) -> Tensor:
        """(N, H, W) maps by a registered method, made once and with cheap options."""
        if method not in self._maps:
            self._maps[method] = explain(
                self.network, self.images, self.targets, method=cheaper(method)
            )
        return self._maps[method]

    def inputs_of(self, method: str) -> MetricInputs:
        """MetricInputs of a method's maps."""
        return self.kept_inputs(method, lambda: self.maps(method))

    def kept_inputs(self, what: str, make: Callable[[], Tensor]) -> MetricInputs:
        """MetricInputs of the maps that `make` gives, under a name: what metrics share is made once."""
        if what not in self._inputs:
            self._inputs[what] = self.inputs(make())
        return self._inputs[what]

    def inputs(self, maps: Tensor) -> MetricInputs:
        """All that a metric may look at, for given maps."""
        return MetricInputs(
            self.network,
            self.images,
            self.targets,
            maps,
            self.regions,
            self.protocol,
            network=self.network,
            instances=[halves(region) for region in self.regions],
            predicted=self.targets,
            image_ids=self.image_ids,
            mean_rgb=self.mean_rgb,
            seed=self.seed,
        )


def cheaper(method: str) -> str:
    """`rise` as `rise(num_masks=256)`: the options that cost, at the values of this suite.

    What the caller wrote stays as it is.
    """
    name, message = parse_call(method)
    known = keyword_defaults(SALIENCY[name].compute)
    check_options(f"method '{name}'", SALIENCY[name].compute, message)
    options = {key: value for key, value in CHEAPER.items() if key in known} | message
    return format_call(name, options)


@lru_cache(maxsize=4)
def load_scene(
    variant: str = "planted_cue", *, seed: int = 0, num_images: int = NUM_IMAGES
) -> Scene:
    """Unseen scenes that a network trained on such scenes gets right; seconds, once a process.

    Args:
        variant: `planted_cue`, where the mark decides, or `plain`, where the object does.
        seed: of the network and of everything that draws at random.

    Raises:
        TrainingError: if the network has not learned its task, so that its maps explain nothing.
    """
    network = _trained(variant, seed)
    test = load_dataset(DATASET, "test", source="standin", variant=variant)
    images = test.images
    with evaluating(network), torch.inference_mode():
        parts = [logits_of(network(part)).argmax(1) for part in torch.split(images, 64)]
    is_right = torch.cat(parts) == test.labels
    accuracy = float(is_right.float().mean())
    if accuracy < TRAINING_SPECS[variant].least_accuracy:
        raise TrainingError(
            f"known answers: the network reached {accuracy:.2f} on unseen {variant} scenes, "
            f"expected {TRAINING_SPECS[variant].least_accuracy}; use another --seed"
        )
    chosen = is_right.nonzero()[:num_images, 0]
    return Scene(
        variant=variant,
        network=network,
        stranger=_untrained(test, seed),
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
    # Not a card's recipe: the answers that are known must not change with what `quick` takes.
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
