"""Score-CAM: the weight of a channel is the score of the image masked by it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.models import MicroBatchRunner, default_micro_batch, scoring
from lico_bench.saliency import add_method
from lico_bench.saliency.layer_maps import enlarge, layer_activation
from lico_bench.saliency.states import scores_in_states

EPSILON = 1e-8  # the mask of a flat channel becomes 0


@add_method(
    "score_cam",
    title="Score-CAM",
    source="Wang et al., CVPR workshops 2020",
    cost=lambda inputs, **_: inputs.channels + 1.0,
    pitfalls="Where logits hardly move under a mask all channels weigh the same, and the map "
    "is the mean activation, whatever the class.",
)
def score_cam(
    model: nn.Module, images: Tensor, targets: Tensor, *, layer: str | None = None
) -> Tensor:
    """ReLU(Σ_c w_c A_c) with w = softmax over channels of the target's logit f(x ∘ M_c).

    M_c is A_c resized to the image and scaled to [0, 1]. Needs one forward per image and channel;
    masked images exist for one micro-batch at a time.

    Args:
        layer: dotted name of a module whose output is (N, C, h, w); the classifier's explanation
            layer if None.

    Returns:
        (N, H, W) float32 >= 0, resized bilinearly, not rescaled.

    Raises:
        UnknownNameError: if the model has no such module.
        InvalidInputError: if the layer has no maps, or the model no logits or no such class.

    Source: Wang et al., CVPR workshops 2020, algorithm 1. The paper subtracts f(x_b), the score of
    a baseline image, from each score; the softmax is invariant to it.

    Differs: the score is the logit, and masks are resized with aligned corners, both as in
    pytorch-grad-cam. The image is masked before normalisation, so that masked pixels become black;
    the paper masks the normalised image, where they become the mean colour.
    """
    activation = layer_activation(model, images, targets, layer=layer)
    channels = activation.shape[1]
    maps = activation.flatten(0, 1)[:, None]  # (1, h, w) per job

    def make(image: Tensor, channel: Tensor) -> Tensor:
        masked = images[image] * _masks(maps[image * channels + channel], images)
        return masked.contiguous(memory_format=torch.channels_last)

    forwards = MicroBatchRunner(model, size=default_micro_batch(images))
    with scoring(model):
        scores = scores_in_states(
            forwards, targets.to(images.device), channels, make, quantity="logit"
        )
    weights = scores[:, :, None, None].softmax(dim=1)
    return enlarge((weights * activation).sum(dim=1).relu(), images)


def _masks(maps: Tensor, images: Tensor) -> Tensor:
    """Resize maps to the image and scale each to [0, 1], (n, 1, H, W)."""
    resized = F.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=True)
    low, high = resized.amin((2, 3), keepdim=True), resized.amax((2, 3), keepdim=True)
    return (resized - low) / (high - low + EPSILON)
