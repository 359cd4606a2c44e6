"""Explain a model: saliency methods by name, all with one contract.

A method takes a model, images in [0, 1] and the class to explain, and gives maps (N, H, W) float32,
finite, larger is more important. The model is left as it was found. What a method can be told is
the keyword-only parameters of its function; `rise(num_masks=200)` names a method with another value
than its default, everywhere where a method is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from lico_bench.checks import check_images, check_maps, check_targets
from lico_bench.models.forwards import in_halves
from lico_bench.registry import (
    Registry,
    check_options,
    format_call,
    keyword_defaults,
    parse_call,
)

Family = Literal["cam", "perturbation", "gradient", "control"]


@dataclass(frozen=True)
class Setting:
    """What the cost of a map depends on.

    Attributes:
        channels: of the explained layer.
        image_size: height and width in px.
    """

    channels: int
    image_size: tuple[int, int]


def one_forward(_setting: Setting, **_options: Any) -> float:
    """Cost of a method that needs one forward; the tail after the layer is not counted."""
    return 1.0


@dataclass(frozen=True)
class SaliencyMethod:
    """One way to make maps.

    Attributes:
        compute: (model, images, targets, **options) -> (N, H, W); options are keyword-only. A map
            must not depend on the other images of its batch.
        family: `cam` looks at one layer and takes an option `layer`, `perturbation` sends changed
            images through the model, `gradient` follows gradients to the pixels, `control`
            knows nothing of the model: a yardstick for the others.
        cost: forwards that one image needs, a backward pass counted as two.
        is_signed: whether a value below zero means evidence against the class.
        pitfalls: what a reader must know before believing its maps.
    """

    title: str
    source: str
    compute: Callable[..., Tensor]
    family: Family = "cam"
    cost: Callable[..., float] = one_forward
    is_signed: bool = False
    pitfalls: str = ""

    @property
    def is_control(self) -> bool:
        """Whether it knows nothing of the model."""
        return self.family == "control"

    @property
    def needs_layer(self) -> bool:
        """Whether it looks at one layer, the model's own unless another is named."""
        return "layer" in keyword_defaults(self.compute)


SALIENCY: Registry[SaliencyMethod] = Registry("saliency method", __name__)


def resolve_method(text: str) -> tuple[str, SaliencyMethod]:
    """A method by name or call: how it is written everywhere, and the entry with its options set.

    Raises:
        UnknownNameError: for an unknown method or option.
        InvalidInputError: for a text that is neither name nor call.
    """
    name, options = parse_call(text)
    entry = SALIENCY[name]
    check_options(f"method '{name}'", entry.compute, options)
    if not options:
        return name, entry
    message = format_call("", options).strip("()")
    return format_call(name, options), replace(
        entry,
        title=f"{entry.title} ({message})",
        compute=partial(entry.compute, **options),
        cost=partial(entry.cost, **options),
    )


def explain(
    model: torch.nn.Module, images: Tensor, targets: Tensor, *, method: str, **options: Any
) -> Tensor:
    """Saliency maps of `images` for the classes `targets`.

    Args:
        model: a `Classifier`, a torchvision ResNet, or any module with logits (N, K) and, for
            methods that look at a layer, a `layer` among the options.
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        method: a registered name, see `lico-bench ls methods`, or a call `rise(num_masks=200)`.
        options: of the method.

    Returns:
        (N, H, W) float32, finite, on the images' device. A batch that does not fit into memory is
        explained in halves.

    Raises:
        UnknownNameError: for an unknown method, option or layer.
        InvalidInputError: for images or targets that are not as said, or maps that are not finite.
        OutOfMemoryError: if not even one image fits.
    """
    name, entry = resolve_method(method)
    check_options(f"method '{name}'", entry.compute, options)
    check_images(images)
    check_targets(targets, num_images=len(images))
    maps = in_halves(
        lambda part: entry.compute(model, images[part], targets[part], **options), len(images)
    )
    maps = maps.detach().float()
    height, width = images.shape[2:]
    check_maps(maps, num_images=len(images), size=(height, width))
    return maps


__all__ = ["SALIENCY", "SaliencyMethod", "Setting", "explain", "one_forward", "resolve_method"]
