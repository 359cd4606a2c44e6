"""Read from a model what methods need: activations, gradients, scores of changed images.

`tap` detaches the layer's output from the graph, so that a gradient costs one forward and the
backward pass of the layers after it, but no backward pass to the pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.checks import check_targets
from lico_bench.errors import InvalidInputError
from lico_bench.models import (
    LogitsModel,
    MicroBatchRunner,
    default_micro_batch,
    explanation_layer,
    logits_of,
    mean_colour,
    scoring,
    target_scores,
)
from lico_bench.models.tap import tap
from lico_bench.records import IMAGENET_MEAN


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


def fill_colour(fill: float | str, model: nn.Module, images: Tensor) -> Tensor:
    """Return the colour of a hidden pixel, (1, 3, 1, 1) in [0, 1].

    Args:
        fill: "mean" for the colour that the model normalises to zero, or a grey level in [0, 1].
            The colour is the `mean` of a `Classifier`, or ImageNet's mean for other models.

    Raises:
        InvalidInputError: for any other `fill`.
    """
    if fill == "mean":
        return images.new_tensor(mean_colour(model) or IMAGENET_MEAN).view(1, 3, 1, 1)
    if isinstance(fill, str) or not 0 <= fill <= 1:
        raise InvalidInputError(f"fill: expected 'mean' or a grey level in [0, 1], got {fill!r}")
    return images.new_full((1, 3, 1, 1), fill)


def scores_in_states(
    model: LogitsModel,
    images: Tensor,
    targets: Tensor,
    num_states: int,
    make: Callable[[Tensor, Tensor], Tensor],
    *,
    quantity: Literal["probability", "logit"] = "probability",
    micro_batch: int | None = None,
) -> Tensor:
    """Score of each image's target in each state, (N, num_states).

    Args:
        model: from the results of `make` to logits (n, K).
        images: what a forward pass reads, for the size of a micro-batch and the device.
        targets: (N,) int64.
        make: maps image numbers (n,) and state numbers (n,) to changed images (n, 3, H, W).
        micro_batch: images per forward; chosen by image size and device if None.

    Raises:
        InvalidInputError: for a target that the model does not have.
    """
    highest, targets = int(targets.max()), targets.to(images.device)
    size = default_micro_batch(images) if micro_batch is None else micro_batch
    forwards = MicroBatchRunner(model, size=size)

    def read(logits: Tensor, jobs: Tensor) -> Tensor:
        scores = logits.float() if quantity == "logit" else logits.float().softmax(1)
        return target_scores(scores, targets[jobs // num_states], highest)

    with scoring(model):
        scores = forwards.run(
            len(targets) * num_states,
            lambda jobs: make(jobs // num_states, jobs % num_states),
            read,
            device=images.device,
        )
    return scores.view(len(targets), num_states)


def _channels_last(images: Tensor) -> Tensor:
    # Convolutions on a CPU are 1.3 to 1.8 times faster in this memory format.
    return images.contiguous(memory_format=torch.channels_last)
