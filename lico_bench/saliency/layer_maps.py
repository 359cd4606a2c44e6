"""Shared parts of the CAM methods: layer activations and gradients, target scores, resizing.

`tap` detaches the layer's output from the graph, so that a gradient costs one forward and the
backward pass of the layers after it, but no backward pass to the pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.checks import check_targets
from lico_bench.errors import InvalidInputError
from lico_bench.models import explanation_layer, logits_of
from lico_bench.models.tap import tap


def layer_activation(
    model: nn.Module, images: Tensor, targets: Tensor, *, layer: str | None
) -> Tensor:
    """Activations (N, C, h, w) float32 of a layer, from one forward without gradients.

    Raises:
        UnknownNameError: if the model has no such module.
        InvalidInputError: if the layer has no maps, or the model no logits or no such class.
    """
    with tap(model, explanation_layer(model, layer)) as point, torch.no_grad():
        logits = logits_of(model(_channels_last(images)))
        check_targets(targets, num_images=len(logits), num_classes=logits.shape[1])
        return point.activation.detach().float()


def activation_and_gradient(
    model: nn.Module, images: Tensor, targets: Tensor, *, layer: str | None
) -> tuple[Tensor, Tensor]:
    """A layer's activations A and the gradient G of each image's target logit with respect to A.

    Returns:
        A and G, both (N, C, h, w) float32.

    Raises:
        UnknownNameError: if the model has no such module.
        InvalidInputError: if the layer has no maps, the model no logits or no such class, or the
            logits do not depend on the layer.
    """
    name = explanation_layer(model, layer)
    with torch.inference_mode(False), torch.enable_grad(), tap(model, name) as point:
        logits = logits_of(model(_channels_last(images)))
        check_targets(targets, num_images=len(logits), num_classes=logits.shape[1])
        score = logits.gather(1, targets.to(logits.device)[:, None]).sum()
        gradient = None
        if score.requires_grad:
            (gradient,) = torch.autograd.grad(score, point.activation, allow_unused=True)
    if gradient is None:
        raise InvalidInputError(
            f"layer '{name}': no gradient reaches it from the logits; name a layer that the logits "
            "depend on, and do not use torch.no_grad in the model's forward"
        )
    return point.activation.detach().float(), gradient.float()


def enlarge(evidence: Tensor, images: Tensor) -> Tensor:
    """Resize `evidence` (N, h, w) bilinearly to the size of `images`, (N, H, W)."""
    size = images.shape[2:]
    return F.interpolate(evidence[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def _channels_last(images: Tensor) -> Tensor:
    # Convolutions on a CPU are 1.3 to 1.8 times faster in this memory format.
    return images.contiguous(memory_format=torch.channels_last)
