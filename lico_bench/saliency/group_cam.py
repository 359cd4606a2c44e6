"""Group-CAM: a few masks, each a group of gradient-weighted channels, scored by what they show."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.checks import check_count
from lico_bench.data.filters import blur
from lico_bench.errors import InvalidInputError
from lico_bench.models import Forwards, default_micro_batch, scoring
from lico_bench.saliency import SALIENCY, SaliencyMethod, Setting
from lico_bench.saliency.layer_maps import activation_and_gradient, class_scores, enlarge

# The published evaluation blurs 224 px images with a kernel of 51 px and a sigma of 50 px.
BLUR_RADIUS_FRAC = 25 / 224  # of the shorter side
BLUR_SIGMA_FRAC = 50 / 224


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

    The C channels, weighted by pooled gradients w, are cut into groups in their order. A mask M_l
    is ReLU(Σ_{c in l} w_c A_c); its values up to the `threshold` quantile are set to zero, and it
    is scaled to [0, 1] and enlarged bilinearly. p is the target's probability.

    Args:
        layer: dotted name of a module whose output is (N, C, h, w); the classifier's own
            explanation layer if None.
        num_groups: masks per image; C where the layer has fewer channels.
        threshold: share of a mask's cells that is taken for noise, in [0, 1).

    Returns:
        (N, H, W) float32 >= 0, not rescaled.

    Raises:
        UnknownNameError: if the model has no such module.
        InvalidInputError: if an option is out of range, the layer gives no maps, or the model no
            logits or no such class.

    Source: Zhang, Rao & Yang, arXiv 2103.13859.

    Differs: the blur is a share of the image's side, at 224 px the published one; groups may
    differ by one channel where their number does not divide C; masks are scaled on the layer's
    grid, so that they are enlarged as the final map is.
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
    """Masks (N, G, h, w) in [0, 1], G the smaller of `num_groups` and C; all zero where flat.

    Args:
        activation, gradient: (N, C, h, w).
    """
    weighted = gradient.mean(dim=(2, 3), keepdim=True) * activation
    groups = weighted.tensor_split(min(num_groups, weighted.shape[1]), dim=1)
    return torch.stack([_one_mask(group.sum(dim=1).relu(), threshold) for group in groups], dim=1)


def _one_mask(evidence: Tensor, threshold: float) -> Tensor:
    """(N, h, w) without its lowest cells, scaled to [0, 1]."""
    cells = evidence.flatten(1)
    cells = torch.where(cells > cells.quantile(threshold, dim=1, keepdim=True), cells, 0.0)
    low, high = cells.aminmax(dim=1, keepdim=True)
    scale = torch.where(high > low, high - low, 1.0)
    return ((cells - low) / scale).view_as(evidence)


def _importance(model: nn.Module, images: Tensor, targets: Tensor, masks: Tensor) -> Tensor:
    """What each mask (N, G, h, w) lets through, in probability above the blurred image; (N, G).

    The last job of an image shows nothing of it: the blurred image itself.
    """
    num_images, num_groups = masks.shape[:2]
    blurred = blurred_copies(images)
    masks = F.pad(masks, (0, 0, 0, 0, 0, 1))  # one more mask, all zero
    jobs_per_image = num_groups + 1

    def make(jobs: Tensor) -> Tensor:
        image = jobs // jobs_per_image
        shown = enlarge(masks[image, jobs % jobs_per_image], images)[:, None]
        masked = torch.lerp(blurred[image], images[image], shown.to(images.dtype))
        return masked.contiguous(memory_format=torch.channels_last)

    def read(logits: Tensor, jobs: Tensor) -> Tensor:
        chosen = targets.to(jobs.device)[jobs // jobs_per_image]
        return class_scores(logits.float().softmax(dim=1), chosen)

    with scoring(model):
        forwards = Forwards(model, size=default_micro_batch(images))
        scores = forwards.run(num_images * jobs_per_image, make, read, device=images.device)
    scores = scores.view(num_images, jobs_per_image)
    return scores[:, :-1] - scores[:, -1:]


def blurred_copies(images: Tensor) -> Tensor:
    """(N, 3, H, W) after a Gaussian cut off at half a sigma, with mirrored borders."""
    shorter = min(images.shape[2:])
    radius = round(BLUR_RADIUS_FRAC * shorter)
    return blur(images, sigma_px=BLUR_SIGMA_FRAC * shorter, radius_px=radius)


def _one_per_group(setting: Setting, *, num_groups: int = 32, **_options: Any) -> float:
    return min(num_groups, setting.channels) + 2.0


SALIENCY.add(
    "group_cam",
    SaliencyMethod(
        title="Group-CAM",
        source="Zhang et al., arXiv 2103.13859",
        compute=group_cam,
        cost=_one_per_group,
        pitfalls="A group is made of neighbouring channels, whose order means nothing. Flat where "
        "no mask raises the probability above the blurred image's.",
    ),
)
