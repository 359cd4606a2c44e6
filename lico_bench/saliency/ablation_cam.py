"""Ablation-CAM: the weight of a channel is the drop of the score without it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lico_bench.checks import check_targets
from lico_bench.models import MicroBatchRunner, default_micro_batch, explanation_layer, scoring
from lico_bench.models.tap import Replay
from lico_bench.saliency import add_method
from lico_bench.saliency.layer_maps import enlarge


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
    scores = _ablated_scores(model, replay, images, targets)
    drops = scores[:, -1:] - scores[:, :-1]
    evidence = (drops[:, :, None, None] * replay.activation.float()).sum(dim=1)
    return enlarge(evidence.relu(), images)


def _ablated_scores(model: nn.Module, replay: Replay, images: Tensor, targets: Tensor) -> Tensor:
    """Target logits (N, C + 1): without each channel, and with all channels in the last column.

    All logits use the same kernels. A separate full forward would round differently, by as much as
    a small drop.
    """
    num_images, channels = replay.activation.shape[:2]
    jobs_per_image = channels + 1

    def ablate_and_run(jobs: Tensor) -> Tensor:
        image, channel = jobs // jobs_per_image, jobs % jobs_per_image
        activation = replay.activation[image]
        is_kept = torch.arange(channels, device=jobs.device) != channel[:, None]
        return replay(activation.mul_(is_kept[:, :, None, None]), image)

    def read(logits: Tensor, jobs: Tensor) -> Tensor:
        job_targets = targets.to(jobs.device)[jobs // jobs_per_image]
        return logits.float().gather(1, job_targets[:, None])[:, 0]

    forwarded = replay.activation if replay.is_tail_only else images
    with scoring(model):
        forwards = MicroBatchRunner(ablate_and_run, size=default_micro_batch(forwarded))
        jobs = num_images * jobs_per_image
        scores = forwards.run(jobs, lambda job_numbers: job_numbers, read, device=images.device)
    return scores.view(num_images, jobs_per_image)
