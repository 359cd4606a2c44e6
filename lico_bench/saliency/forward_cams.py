"""CAMs whose weights are scores of forward passes with changed channels of a layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.checks import check_count, check_targets
from lico_bench.data.image_batches import blur
from lico_bench.errors import InvalidInputError
from lico_bench.models import explanation_layer, scoring
from lico_bench.models.tap import Replay
from lico_bench.saliency import add_method
from lico_bench.saliency.readouts import (
    activation_and_gradient,
    enlarge,
    layer_activation,
    scores_in_states,
)

EPSILON = 1e-8  # the mask of a flat channel becomes 0
# The published evaluation of Group-CAM blurs 224 px images with a kernel of 51 px and a sigma of
# 50 px.
BLUR_RADIUS_FRAC = 25 / 224  # of the shorter side
BLUR_SIGMA_FRAC = 50 / 224


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

    scores = scores_in_states(model, images, targets, channels, make, quantity="logit")
    weights = scores[:, :, None, None].softmax(dim=1)
    return enlarge((weights * activation).sum(dim=1).relu(), images)


def _masks(maps: Tensor, images: Tensor) -> Tensor:
    """Resize maps to the image and scale each to [0, 1], (n, 1, H, W)."""
    resized = F.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=True)
    low, high = resized.amin((2, 3), keepdim=True), resized.amax((2, 3), keepdim=True)
    return (resized - low) / (high - low + EPSILON)


@add_method(
    "ablation_cam",
    title="Ablation-CAM",
    source="Desai & Ramaswamy, WACV 2020",
    pitfalls="Costs a forward per channel where the network after the layer needs more than "
    "the layer's output, a shortcut around it for instance.",
)
def ablation_cam(
    model: nn.Module, images: Tensor, targets: Tensor, *, layer: str | None = None
) -> Tensor:
    """ReLU(Σ_c w_c A_c) with w_c = y - y_c, y_c the target's logit with channel c at zero.

    If the network after the layer can be run separately, only that part runs again, once per image
    and channel; otherwise full forwards run with the layer's output replaced. Both give the same
    map.

    Args:
        layer: dotted name of a module whose output is (N, C, h, w); the classifier's explanation
            layer if None.

    Returns:
        (N, H, W) float32 >= 0, resized bilinearly, not rescaled.

    Raises:
        UnknownNameError: if the model has no such module.
        InvalidInputError: if the layer has no maps, or the model no logits or no such class.

    Source: Desai & Ramaswamy, WACV 2020.

    Differs: the drops are not divided by y. The division of the paper only scales a map, without
    bound for y near zero, and inverts it for y below zero. pytorch-grad-cam divides, and uses about
    -1e7 in place of zero if the minimum activation of an image is not exactly zero. After a ReLU
    and with y > 0 the maps agree up to scale.
    """
    replay = Replay(model, images, explanation_layer(model, layer))
    check_targets(targets, num_images=len(replay.logits), num_classes=replay.logits.shape[1])
    channels = torch.arange(replay.activation.shape[1], device=images.device)

    def ablate_and_run(numbers: Tensor) -> Tensor:
        image, ablated = numbers.unbind(1)
        is_kept = channels != ablated[:, None]
        return replay(replay.activation[image].mul_(is_kept[:, :, None, None]), image)

    # The last state of each image keeps all channels, so that its logits use the same kernels: a
    # separate forward would round differently, by as much as a small drop.
    forwarded = replay.activation if replay.is_tail_only else images
    with scoring(model):
        scores = scores_in_states(
            ablate_and_run, forwarded, targets, len(channels) + 1,
            lambda image, ablated: torch.stack([image, ablated], dim=1), quantity="logit",
        )  # fmt: skip
    drops = scores[:, -1:] - scores[:, :-1]
    evidence = (drops[:, :, None, None] * replay.activation.float()).sum(dim=1)
    return enlarge(evidence.relu(), images)


@add_method(
    "group_cam",
    title="Group-CAM",
    source="Zhang et al., arXiv 2103.13859",
    cost=lambda inputs, *, num_groups=32, **_: min(num_groups, inputs.channels) + 2.0,
    pitfalls="A group is made of neighbouring channels, whose order means nothing. Flat where "
    "no mask raises the probability above the blurred image's.",
)
def group_cam(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    num_groups: int = 32,
    threshold: float = 0.7,
) -> Tensor:
    """ReLU(Σ_l α_l M_l) with α_l = p(x ∘ M_l + b ∘ (1 - M_l)) - p(b), b the blurred image.

    The C channels, weighted by pooled gradients w, are split into groups of consecutive channels. A
    mask M_l is ReLU(Σ_{c in l} w_c A_c) with values up to the `threshold` quantile set to zero,
    scaled to [0, 1] and resized bilinearly. p is the target's probability.

    Args:
        layer: dotted name of a module whose output is (N, C, h, w); the classifier's explanation
            layer if None.
        num_groups: masks per image; at most C.
        threshold: share of a mask's cells that is set to zero as noise, in [0, 1).

    Returns:
        (N, H, W) float32 >= 0, not rescaled.

    Raises:
        UnknownNameError: if the model has no such module.
        InvalidInputError: if an option is out of range, the layer has no maps, or the model no
            logits or no such class.

    Source: Zhang, Rao & Yang, arXiv 2103.13859.

    Differs: the blur is relative to the image's side and equals the published one at 224 px; group
    sizes may differ by one channel if `num_groups` does not divide C; masks are scaled on the
    layer's grid, and then resized like the final map.
    """
    check_count("num_groups", num_groups)
    if not 0 <= threshold < 1:
        raise InvalidInputError(f"threshold: expected a number in [0, 1), got {threshold}")
    activation, gradient = activation_and_gradient(model, images, targets, layer=layer)
    masks = group_masks(activation, gradient, num_groups=num_groups, threshold=threshold)
    importance = _importance(model, images, targets, masks)
    return enlarge((importance[:, :, None, None] * masks).sum(dim=1), images).relu()


def group_masks(
    activation: Tensor, gradient: Tensor, *, num_groups: int, threshold: float
) -> Tensor:
    """Masks (N, G, h, w) in [0, 1] with G = min(num_groups, C); a flat mask is all zeros.

    Args:
        activation, gradient: (N, C, h, w).
    """
    weighted = gradient.mean(dim=(2, 3), keepdim=True) * activation
    groups = weighted.tensor_split(min(num_groups, weighted.shape[1]), dim=1)
    return torch.stack(
        [_scaled_mask(group.sum(dim=1).relu(), threshold) for group in groups], dim=1
    )


def _scaled_mask(evidence: Tensor, threshold: float) -> Tensor:
    """Set the lowest cells of (N, h, w) to zero and scale to [0, 1]."""
    cells = evidence.flatten(1)
    cells = torch.where(cells > cells.quantile(threshold, dim=1, keepdim=True), cells, 0.0)
    low, high = cells.aminmax(dim=1, keepdim=True)
    scale = torch.where(high > low, high - low, 1.0)
    return ((cells - low) / scale).view_as(evidence)


def _importance(model: nn.Module, images: Tensor, targets: Tensor, masks: Tensor) -> Tensor:
    """Target probability (N, G) with each mask (N, G, h, w), minus that of the blurred image.

    The last state of each image is the blurred image itself.
    """
    blurred = blurred_copies(images)
    masks = F.pad(masks, (0, 0, 0, 0, 0, 1))  # an all-zero mask for the blurred image

    def make(image: Tensor, group: Tensor) -> Tensor:
        visible = enlarge(masks[image, group], images)[:, None]
        masked = torch.lerp(blurred[image], images[image], visible.to(images.dtype))
        return masked.contiguous(memory_format=torch.channels_last)

    scores = scores_in_states(model, images, targets, masks.shape[1], make)
    return scores[:, :-1] - scores[:, -1:]


def blurred_copies(images: Tensor) -> Tensor:
    """Blur (N, 3, H, W) with a Gaussian truncated at half a sigma and reflected borders."""
    shorter = min(images.shape[2:])
    radius = round(BLUR_RADIUS_FRAC * shorter)
    return blur(images, sigma_px=BLUR_SIGMA_FRAC * shorter, radius_px=radius)
