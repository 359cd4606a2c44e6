"""CAMs from one layer's activations A and the gradient G of the target logit, or from A alone.

The methods with a gradient differ only in how they weight A and G. They share the forward, the
gradient, the final ReLU and the bilinear resizing. No map is rescaled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lico_bench.errors import InvalidInputError
from lico_bench.saliency import add_method
from lico_bench.saliency.readouts import activation_and_gradient, enlarge, layer_activation

Weighting = Callable[[Tensor, Tensor], Tensor]  # A, G (N, C, h, w) -> evidence (N, h, w)
CAMS: dict[str, Weighting] = {}  # by method name; `add_cam` adds them

EPSILON_XGRAD = 1e-7  # as in pytorch-grad-cam


def add_cam(name: str, **facts: Any) -> Callable[[Weighting], Weighting]:
    """Return a decorator that registers a weighting of A and G as the method `name`.

    Args:
        facts: fields of `SaliencyMethod` other than `compute`.
    """

    def add(weighting: Weighting) -> Weighting:
        def compute(
            model: nn.Module, images: Tensor, targets: Tensor, *, layer: str | None = None
        ) -> Tensor:
            activation, gradient = activation_and_gradient(model, images, targets, layer=layer)
            return enlarge(weighting(activation, gradient).relu(), images)

        compute.__doc__ = weighting.__doc__
        add_method(name, **facts)(compute)
        CAMS[name] = weighting
        return weighting

    return add


@add_cam(
    "grad_cam",
    title="Grad-CAM",
    source="Selvaraju et al., ICCV 2017",
    pitfalls="As coarse as the layer's grid; flat where all evidence is negative.",
)
def pooled_gradients(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM: Σ_c w_c A_c with w_c = mean_xy G_c.

    Source: Selvaraju et al., ICCV 2017, eqs. 1-2.
    """
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * activation).sum(dim=1)


@add_cam(
    "grad_cam_plus_plus",
    title="Grad-CAM++",
    source="Chattopadhay et al., WACV 2018",
    pitfalls="Positive gradients alone: it separates classes poorly. Unstable where a channel's "
    "activations sum to less than zero.",
)
def weighted_positive_gradients(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM++: Σ_c w_c A_c with w_c = Σ_xy α ReLU(G), α = G² / (2 G² + (Σ_xy A) G³).

    The score of the paper is exp(y). Its derivatives are exp(y) times powers of G, the gradient of
    the logit y, so that α is the same and the map only changes by the factor exp(y) > 0; the logit
    is used here.

    Both terms of α are divided by G², which leaves ReLU(G) / (2 + (Σ_xy A) G) and 0 for G = 0.

    Differs: pytorch-grad-cam adds 1e-6 to the denominator, which is 1e-6 / G² here. Behind a mean
    over positions G² is often of that size; α then grows with G² instead of being independent of
    it. The maps agree where G² is much larger.

    Source: Chattopadhay et al., WACV 2018, eq. 19 of arXiv 1710.11063.
    """
    denominator = 2 + activation.sum(dim=(2, 3), keepdim=True) * gradient
    terms = gradient.relu() / torch.where(denominator == 0, 1, denominator)
    return (terms.sum(dim=(2, 3), keepdim=True) * activation).sum(dim=1)


@add_cam(
    "hires_cam",
    title="HiResCAM",
    source="Draelos & Carin, arXiv 2011.08891",
    pitfalls="The same map as grad_cam where a mean and a linear layer follow, up to rounding.",
)
def product_with_gradients(activation: Tensor, gradient: Tensor) -> Tensor:
    """HiResCAM: Σ_c G_c A_c, position by position.

    Differs: the map of the paper is signed; here a ReLU follows, as in pytorch-grad-cam.

    Source: Draelos & Carin, arXiv 2011.08891.
    """
    return (gradient * activation).sum(dim=1)


@add_cam(
    "xgrad_cam",
    title="XGrad-CAM",
    source="Fu et al., BMVC 2020",
    pitfalls="The same map as grad_cam where a mean and a linear layer follow, up to rounding; "
    "unstable where a channel's activations sum to about zero.",
)
def share_weighted_gradients(activation: Tensor, gradient: Tensor) -> Tensor:
    """XGrad-CAM: Σ_c w_c A_c with w_c = Σ_xy G_c A_c / (Σ_xy A_c + 1e-7).

    Source: Fu et al., BMVC 2020.
    """
    total = activation.sum(dim=(2, 3), keepdim=True)
    weights = (gradient * activation).sum(dim=(2, 3), keepdim=True) / (total + EPSILON_XGRAD)
    return (weights * activation).sum(dim=1)


@add_cam(
    "layer_cam",
    title="LayerCAM",
    source="Jiang et al., IEEE TIP 2021",
    pitfalls="Positive gradients alone: it separates classes poorly at the last layer.",
)
def product_with_positive_gradients(activation: Tensor, gradient: Tensor) -> Tensor:
    """LayerCAM: Σ_c ReLU(G_c) A_c, position by position.

    Source: Jiang et al., IEEE TIP 30, 2021.
    """
    return (gradient.relu() * activation).sum(dim=1)


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
