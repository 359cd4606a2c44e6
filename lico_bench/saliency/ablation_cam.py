"""Ablation-CAM: a channel counts as much as the score drops without it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lico_bench.models import Forwards, default_micro_batch, explanation_layer, scoring
from lico_bench.models.replay import Replay
from lico_bench.saliency import SALIENCY, SaliencyMethod
from lico_bench.saliency.layer_maps import check_classes, class_scores, enlarge


def ablation_cam(
    model: nn.Module, images: Tensor, targets: Tensor, *, layer: str | None = None
) -> Tensor:
    """ReLU(Σ_c w_c A_c) with w_c = y - y_c, y_c the target's logit with channel c at zero.

    Only the network after the layer is run again, once per image and channel, where it can be
    cut out; else whole forwards with the layer's output replaced. Both give the same map.

    Args:
        layer: dotted name of a module whose output is (N, C, h, w); the classifier's own
            explanation layer if None.

    Returns:
        (N, H, W) float32 >= 0, resized bilinearly, not rescaled.

    Raises:
        UnknownNameError: if the model has no such module.
        InvalidInputError: if the layer gives no maps, or the model no logits or no such class.

    Source: Desai & Ramaswamy, WACV 2020.

    Differs: the paper divides a drop by y. That scales a map, without bound where y is about zero,
    and turns it round where y is below; left out here. pytorch-grad-cam divides, and puts about
    -1e7 in place of zero where an image's smallest activation is not exactly zero. Behind a ReLU
    and with a score above zero maps agree, up to their scale.
    """
    replay = Replay(model, images, explanation_layer(model, layer))
    check_classes(targets, replay.logits)
    scores = _scores_without_each(model, replay, images, targets)
    drops = scores[:, -1:] - scores[:, :-1]
    evidence = (drops[:, :, None, None] * replay.activation.float()).sum(dim=1)
    return enlarge(evidence.relu(), images)


def _scores_without_each(
    model: nn.Module, replay: Replay, images: Tensor, targets: Tensor
) -> Tensor:
    """The target's logit without each channel, and last with all of them; (N, C + 1).

    All come out of the same kernels: what they round differently from a whole forward would be
    as large as a small drop.
    """
    num_images, channels = replay.activation.shape[:2]
    jobs_per_image = channels + 1

    def without_one(jobs: Tensor) -> Tensor:
        image, channel = jobs // jobs_per_image, jobs % jobs_per_image
        activation = replay.activation[image]
        is_kept = torch.arange(channels, device=jobs.device) != channel[:, None]
        return replay(activation.mul_(is_kept[:, :, None, None]), image)

    def read(logits: Tensor, jobs: Tensor) -> Tensor:
        return class_scores(logits.float(), targets.to(jobs.device)[jobs // jobs_per_image])

    forwarded = replay.activation if replay.is_tail_only else images
    with scoring(model):
        forwards = Forwards(without_one, size=default_micro_batch(forwarded))
        jobs = num_images * jobs_per_image
        scores = forwards.run(jobs, lambda numbers: numbers, read, device=images.device)
    return scores.view(num_images, jobs_per_image)


SALIENCY.add(
    "ablation_cam",
    SaliencyMethod(
        title="Ablation-CAM",
        source="Desai & Ramaswamy, WACV 2020",
        compute=ablation_cam,
        pitfalls="Costs a forward per channel where the network after the layer needs more than "
        "the layer's output, a shortcut around it for instance.",
    ),
)
