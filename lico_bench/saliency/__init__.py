"""Saliency methods by name, and `explain`.

A method takes a model, images in [0, 1] and target classes, and returns finite saliency maps
(N, H, W) float32; larger values are more important. It leaves the model unchanged. The options of a
method are the keyword-only parameters of its function. A method can be written as a call wherever a
name is accepted: `rise(num_masks=200)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from lico_bench.checks import check_images, check_maps, check_targets
from lico_bench.models.classifier import compute_in_batches
from lico_bench.registry import (
    Registry,
    check_options,
    format_call,
    keyword_defaults,
    parse_call,
)

Family = Literal["cam", "perturbation", "gradient", "control"]
Compute = TypeVar("Compute", bound=Callable[..., Tensor])


@dataclass(frozen=True)
class MapCostInputs:
    """Quantities that the cost of a saliency map depends on.

    Attributes:
        channels: channels of the explained layer.
        image_size: height and width in px.
    """

    channels: int
    image_size: tuple[int, int]


@dataclass(frozen=True)
class SaliencyMethod:
    """A saliency method and its properties.

    Attributes:
        compute: (model, images, targets, **options) -> (N, H, W); options are keyword-only. A map
            must not depend on the other images of its batch.
        family: `cam` explains one layer and has an option `layer`; `perturbation` classifies
            changed images; `gradient` computes gradients of the pixels; `control` ignores the
            model and is a baseline for the others.
        cost: (cost inputs, **options) -> forwards per image; a backward pass counts as two, and the
            layers after the explained one are not counted again. One forward by default.
        is_signed: whether negative values are evidence against the class.
        pitfalls: known limitations of its maps.
    """

    title: str
    source: str
    compute: Callable[..., Tensor]
    family: Family = "cam"
    cost: Callable[..., float] = lambda _inputs, **_: 1.0
    is_signed: bool = False
    pitfalls: str = ""

    @property
    def is_control(self) -> bool:
        """Whether the method ignores the model."""
        return self.family == "control"

    @property
    def needs_layer(self) -> bool:
        """Whether the method has the option `layer`."""
        return "layer" in keyword_defaults(self.compute)

    def maps(
        self, model: torch.nn.Module, images: Tensor, targets: Tensor, **options: Any
    ) -> Tensor:
        """Check the arguments, compute the maps and check them; see `explain`."""
        check_images(images)
        check_targets(targets, num_images=len(images))
        maps = compute_in_batches(
            lambda part: self.compute(model, images[part], targets[part], **options), len(images)
        )
        maps = maps.detach().float()
        height, width = images.shape[2:]
        check_maps(maps, num_images=len(images), size=(height, width))
        return maps


SALIENCY: Registry[SaliencyMethod] = Registry("saliency method", __name__)


def add_method(name: str, **facts: Any) -> Callable[[Compute], Compute]:
    """Return a decorator that registers a function as the method `name`.

    Args:
        facts: fields of `SaliencyMethod` other than `compute`.
    """

    def add(compute: Compute) -> Compute:
        SALIENCY.add(name, SaliencyMethod(compute=compute, **facts))
        return compute

    return add


def resolve_method(text: str) -> tuple[str, SaliencyMethod]:
    """Resolve a name or call to its canonical text and the entry with its options set.

    Raises:
        UnknownNameError: for an unknown method or option.
        InvalidInputError: if `text` is neither a name nor a call.
    """
    name, options = parse_call(text)
    entry = SALIENCY[name]
    check_options(f"method '{name}'", entry.compute, options)
    if not options:
        return name, entry
    arguments = format_call("", options).strip("()")
    return format_call(name, options), replace(
        entry,
        title=f"{entry.title} ({arguments})",
        compute=partial(entry.compute, **options),
        cost=partial(entry.cost, **options),
    )


def explain(
    model: torch.nn.Module, images: Tensor, targets: Tensor, *, method: str, **options: Any
) -> Tensor:
    """Saliency maps of `images` for the classes `targets`.

    Args:
        model: a `Classifier`, a torchvision ResNet, or any module that returns logits (N, K); for
            such a module, methods that explain a layer need the option `layer`.
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        method: a registered name, see `lico-bench ls methods`, or a call `rise(num_masks=200)`.
        options: options of the method.

    Returns:
        (N, H, W) float32, finite, on the images' device. A batch that does not fit into memory is
        split in halves.

    Raises:
        UnknownNameError: for an unknown method, option or layer.
        InvalidInputError: for invalid images or targets, or maps that are not finite.
        OutOfMemoryError: if a single image does not fit.
    """
    name, entry = resolve_method(method)
    check_options(f"method '{name}'", entry.compute, options)
    return entry.maps(model, images, targets, **options)


__all__ = [
    "SALIENCY",
    "MapCostInputs",
    "SaliencyMethod",
    "add_method",
    "explain",
    "resolve_method",
]
