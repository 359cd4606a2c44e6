"""Eigen-CAM: the first principal component of a layer's activations; class-independent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lico_bench.errors import InvalidInputError
from lico_bench.saliency import add_method
from lico_bench.saliency.layer_maps import enlarge, layer_activation


@add_method(
    "eigen_cam",
    title="Eigen-CAM",
    source="Muhammad & Yeasin, IJCNN 2020",
    pitfalls="The same map for every class. Unstable where two directions are equally strong.",
)
def eigen_cam(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    layer: str | None = None,
    centred: bool = True,
) -> Tensor:
    """ReLU(± X v): positions projected onto the first right singular vector v of activations X.

    X is (h * w, C), one row per position.

    Args:
        layer: dotted name of a module whose output is (N, C, h, w); the classifier's explanation
            layer if None.
        centred: whether to subtract each channel's mean over positions first.

    Returns:
        (N, H, W) float32 >= 0, resized bilinearly, not rescaled.

    Raises:
        UnknownNameError: if the model has no such module.
        InvalidInputError: if its activations are not finite.

    Source: Muhammad & Yeasin, IJCNN 2020.

    Differs: the sign of a singular vector is arbitrary. Here the projection correlates positively
    with the sum over channels, so that the map is large where the layer is active; libraries that
    keep LAPACK's sign may return the negative. Centring and ReLU follow pytorch-grad-cam; the paper
    defines `centred=False`, where the ReLU has no effect on positive activations.
    """
    activation = layer_activation(model, images, targets, layer=layer)
    projected = first_component(activation, centred=centred)
    return enlarge(projected.relu(), images)


def first_component(activation: Tensor, *, centred: bool) -> Tensor:
    """Projection of each position onto the first principal direction of the channels.

    Uses the eigenvectors of the smaller Gram matrix, in float64 because it squares the values.

    Args:
        activation: (N, C, h, w).

    Returns:
        (N, h, w) float32, positively correlated with the sum over channels.

    Raises:
        InvalidInputError: if the activations are not finite.
    """
    if not activation.isfinite().all():
        raise InvalidInputError(
            "layer: expected finite activations, got NaN or infinity; check the model's weights"
        )
    positions = activation.flatten(2).mT
    if positions.device.type == "mps":
        positions = positions.cpu()  # MPS supports neither float64 nor eigh
    positions = positions.double()
    if centred:
        positions = positions - positions.mean(dim=1, keepdim=True)
    if positions.shape[1] < positions.shape[2]:
        values, vectors = torch.linalg.eigh(positions @ positions.mT)
        projected = vectors[:, :, -1] * values[:, -1:].clamp_min(0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(positions.mT @ positions)
        projected = (positions @ vectors[:, :, -1:])[:, :, 0]
    agreement = (projected * positions.sum(dim=2)).sum(dim=1, keepdim=True)
    projected = torch.where(agreement < 0, -projected, projected)
    num_images, _, height, width = activation.shape
    return projected.to(activation.device, torch.float32).view(num_images, height, width)
