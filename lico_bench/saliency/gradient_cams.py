"""CAMs from one layer's activations A and the gradient G of the target logit.

The methods differ only in how they weight A and G. They share the forward, the gradient, the final
ReLU and the bilinear resizing. No map is rescaled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lico_bench.saliency import add_method
from lico_bench.saliency.layer_maps import activation_and_gradient, enlarge

Weighting = Callable[[Tensor, Tensor], Tensor]  # A, G (N, C, h, w) -> evidence (N, h, w)
CAMS: dict[str, Weighting] = {}  # by method name; `add_cam` adds them

EPSILON_PLUS_PLUS = 1e-6  # as in pytorch-grad-cam, so that maps agree
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
    pitfalls="Positive gradients alone: it separates classes poorly. Behind a mean over positions "
    "its alpha depends on a constant of 1e-6.",
)
def weighted_positive_gradients(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM++: Σ_c w_c A_c with w_c = Σ_xy α ReLU(G), α = G² / (2 G² + (Σ_xy A) G³ + 1e-6).

    The score of the paper is exp(y). Its derivatives are exp(y) times powers of G, the gradient of
    the logit y, so that α is the same and the map only changes by the factor exp(y) > 0; the logit
    is used here.

    Differs: the paper has no 1e-6. Before a mean over positions G² is often of that size, and α
    then grows with G² instead of being independent of it. The constant is kept because the common
    implementations have it.

    Source: Chattopadhay et al., WACV 2018, eq. 19 of arXiv 1710.11063.
    """
    squared = gradient.square()
    total = activation.sum(dim=(2, 3), keepdim=True)
    alpha = squared / (2 * squared + total * squared * gradient + EPSILON_PLUS_PLUS)
    weights = (alpha * gradient.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * activation).sum(dim=1)


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
