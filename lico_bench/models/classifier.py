"""The classifier of this project: takes images in [0, 1], returns logits and feature maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lico_bench.checks import check_count
from lico_bench.errors import InvalidInputError
from lico_bench.models.backbones import BACKBONES
from lico_bench.records import Output
from lico_bench.runtime import seeded


class Classifier(nn.Module):
    """Backbone, mean over positions, one linear layer; normalises its input.

    Args:
        features: from images (N, 3, H, W) to maps (N, C, h, w).
        channels: C.
        num_classes: K.
        mean, std: of the training images per channel, in [0, 1].
        explanation_layer: dotted name of the module that saliency methods explain.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: nn.Module,
        *,
        channels: int,
        num_classes: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        explanation_layer: str = "features",
    ) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(channels, num_classes)
        self.explanation_layer = explanation_layer
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Output:
        """Return logits (N, K) and last feature maps (N, C, h * w) of images in [0, 1]."""
        maps: Tensor = self.features((images - self.mean) / self.std)
        # The logits are computed from the returned maps, so that they have a gradient on them.
        features = maps.flatten(2)
        return Output(logits=self.head(features.mean(dim=2)), features=features)

    @property
    def num_classes(self) -> int:
        """K."""
        return self.head.out_features


def build_classifier(
    backbone: str,
    *,
    num_classes: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    seed: int,
) -> Classifier:
    """Build a classifier; its random weights depend only on `seed` and are equal for all arms.

    Raises:
        UnknownNameError: for a backbone that is not registered.
    """
    check_count("num_classes", num_classes, at_least=2)
    entry = BACKBONES[backbone]
    with seeded(seed, "weights"):
        return Classifier(
            entry.build(),
            channels=entry.channels,
            num_classes=num_classes,
            mean=mean,
            std=std,
            explanation_layer=entry.explanation_layer,
        )


def target_scores(scores: Tensor, targets: Tensor, max_target: int) -> Tensor:
    """Return the score of each row's target, (n,), from scores (n, K).

    Args:
        max_target: maximum of all targets, passed in to avoid a synchronisation with the device.

    Raises:
        InvalidInputError: for a target that the model does not have.
    """
    if max_target >= scores.shape[1]:
        raise InvalidInputError(
            f"targets: expected classes in [0, {scores.shape[1]}), got {max_target}"
        )
    return torch.gather(scores, 1, targets[:, None])[:, 0]


def mean_colour(model: object) -> tuple[float, float, float] | None:
    """Return the RGB colour in [0, 1] that a model normalises to zero; None if not declared."""
    declared = getattr(model, "mean", None)
    if not isinstance(declared, Tensor) or declared.numel() != 3:
        return None
    red, green, blue = declared.detach().flatten().tolist()
    return red, green, blue


def logits_of(result: Any) -> Tensor:
    """Return the logits from a model's result, a tensor (N, K) or an `Output`.

    Raises:
        InvalidInputError: if it is neither.
    """
    logits = result.logits if isinstance(result, Output) else result
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InvalidInputError(
            f"model: expected logits (N, K) from images (N, 3, H, W), got {found}; "
            "wrap it in a function that returns the logits alone"
        )
    return logits
