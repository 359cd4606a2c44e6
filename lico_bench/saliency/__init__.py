"""Explain a model: saliency methods by name, all with one contract.

A method takes a model, images in [0, 1] and the class to explain, and gives maps (N, H, W) float32,
finite, larger is more important. The model is left as it was found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lico_bench.checks import check_images, check_maps, check_targets
from lico_bench.errors import InvalidInputError
from lico_bench.registry import Registry


@dataclass(frozen=True)
class SaliencyMethod:
    """One way to make maps.

    Attributes:
        compute: (model, images, targets, **options) -> (N, H, W).
        is_control: whether it knows nothing of the model, a yardstick for the others.
    """

    title: str
    source: str
    compute: Callable[..., Tensor]
    is_control: bool = False


SALIENCY: Registry[SaliencyMethod] = Registry("saliency method", __name__)


def explain(
    model: torch.nn.Module, images: Tensor, targets: Tensor, *, method: str, **options: Any
) -> Tensor:
    """Saliency maps of `images` for the classes `targets`.

    Args:
        model: a `Classifier`, or any module with logits (N, K) and a `layer` among the options.
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        method: a registered name, see `lico-bench ls methods`.
        options: of the method.

    Returns:
        (N, H, W) float32, finite, on the images' device.

    Raises:
        UnknownNameError: for an unknown method or layer.
        InvalidInputError: for images or targets that are not as said, an option the method does
            not have, or maps that are not finite.
    """
    entry = SALIENCY[method]
    check_images(images)
    check_targets(targets, num_images=len(images))
    try:
        maps = entry.compute(model, images, targets, **options)
    except TypeError as error:
        if "unexpected keyword argument" in str(error):
            raise InvalidInputError(f"method '{method}': {str(error).split(') ')[-1]}") from error
        raise
    maps = maps.detach().float()
    height, width = images.shape[2:]
    check_maps(maps, num_images=len(images), size=(height, width))
    return maps


__all__ = ["SALIENCY", "SaliencyMethod", "explain"]
