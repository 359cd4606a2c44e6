"""Grad-CAM: feature maps weighted by their pooled gradients."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.models import explanation_layer, logits_of, tap
from lico_bench.saliency import SALIENCY, SaliencyMethod


def grad_cam(
    model: nn.Module, images: Tensor, targets: Tensor, *, layer: str | None = None
) -> Tensor:
    """Class evidence at one convolutional layer, ReLU(Σ_c w_c A_c) with w_c = mean_xy ∂y/∂A_c.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        layer: dotted name of a module whose output is (N, C, h, w); the classifier's own
            explanation layer if None.

    Returns:
        (N, H, W) float32 >= 0, resized bilinearly, not rescaled.

    Raises:
        UnknownNameError: if the model has no such module.

    Source: Selvaraju et al., ICCV 2017, eqs. 1-2.
    """
    with tap(model, explanation_layer(model, layer)) as point, torch.enable_grad():
        logits = logits_of(model(images))
        chosen = logits.gather(1, targets[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, point.activation)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        evidence = (weights * point.activation.detach()).sum(dim=1, keepdim=True).relu()
    return F.interpolate(evidence, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]


SALIENCY.add(
    "grad_cam",
    SaliencyMethod(title="Grad-CAM", source="Selvaraju et al., ICCV 2017", compute=grad_cam),
)
