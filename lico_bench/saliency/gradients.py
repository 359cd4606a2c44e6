"""Gradients of the target's logit with respect to the pixels: plain, averaged and guided."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lico_bench.checks import check_count, check_not_negative
from lico_bench.errors import InvalidInputError
from lico_bench.runtime import make_generator
from lico_bench.saliency import SALIENCY, SaliencyMethod, Setting
from lico_bench.saliency.pixel_gradients import mean_gradient, reduction
from lico_bench.saliency.states import fill_colour

FORWARD_AND_BACKWARD = 3.0  # a backward pass is counted as two forwards
SAMPLES, STEPS = 25, 32


def gradient(
    model: nn.Module, images: Tensor, targets: Tensor, *, reduce: str = "max_abs"
) -> Tensor:
    """How fast the target's logit changes with each pixel, max_c |∂y/∂x_c|.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        reduce: from three channels to a pixel: `max_abs` (the paper's), `sum_abs` or `sum`.

    Returns:
        (N, H, W) float32, per unit of an image in [0, 1]; at least 0 unless `reduce` is `sum`.

    Raises:
        InvalidInputError: for an unknown `reduce`, or a target that the model does not have.

    Source: Simonyan et al., ICLR workshop 2014, section 3.1.
    """
    to_pixels = reduction(reduce)
    return to_pixels(mean_gradient(model, images, targets, lambda _: images.detach(), 1))


def smooth_grad(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    samples: int = SAMPLES,
    noise: float = 0.15,
    reduce: str = "sum_abs",
    seed: int = 0,
) -> Tensor:
    """The gradient averaged over noisy copies of the image, Σ_c |mean_k ∂y/∂x_c (x + ε_k)|.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        samples: noisy copies.
        noise: standard deviation of ε, as a share of the image's own max - min; a copy may leave
            [0, 1].
        reduce: from three channels to a pixel, of the averaged gradient: `sum_abs` (the published
            code's), `max_abs` or `sum`.
        seed: of the noise, which is the same pattern for every image and model of one size, so
            that a map changes smoothly with its image.

    Returns:
        (N, H, W) float32, per unit of an image in [0, 1]; at least 0 unless `reduce` is `sum`.

    Raises:
        InvalidInputError: for options out of range, or a target that the model does not have.

    Source: Smilkov et al., 2017 (arXiv 1706.03825); `samples` and `noise` are the defaults of the
        published code.
    """
    check_count("samples", samples)
    check_not_negative("noise", noise)
    to_pixels = reduction(reduce)
    spread = noise * (images.amax((1, 2, 3), True) - images.amin((1, 2, 3), True)).detach()

    def make(sample: int) -> Tensor:
        rng = make_generator(seed, f"smooth_grad:{sample}")
        pattern = torch.randn(images.shape[1:], generator=rng).to(images)
        return images.detach() + spread * pattern

    return to_pixels(mean_gradient(model, images, targets, make, samples))


def integrated_gradients(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    steps: int = STEPS,
    fill: float | str = "mean",
    reduce: str = "sum",
) -> Tensor:
    """What each pixel adds to the logit on the way from one colour to the image.

    Σ_c (x_c - b_c) · mean_k ∂y/∂x_c (b + (k + 1/2)/steps · (x - b)), k = 0 .. steps - 1.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        steps: points on the path, in the middle of equal parts.
        fill: colour b that the path starts from, "mean" (zero after normalisation) or a grey level
            in [0, 1].
        reduce: from three channels to a pixel: `sum`, which keeps the sum of the map, `sum_abs` or
            `max_abs`.

    Returns:
        (N, H, W) float32 in units of the logit. With `sum` a map's sum approaches y(x) - y(b) as
        the steps become many.

    Raises:
        InvalidInputError: for options out of range, or a target that the model does not have.

    Source: Sundararajan et al., ICML 2017, eqs. 1 and 3.
    Differs: the path is sampled in the middle of its parts, not at their ends: exact where the
        gradient changes evenly along the path.
    """
    check_count("steps", steps)
    to_pixels = reduction(reduce)
    colour = fill_colour(fill, model, images)
    way = images.detach() - colour
    mean = mean_gradient(
        model, images, targets, lambda step: colour + (step + 0.5) / steps * way, steps
    )
    return to_pixels(way * mean)


def guided_backprop(
    model: nn.Module, images: Tensor, targets: Tensor, *, reduce: str = "max_abs"
) -> Tensor:
    """The gradient with what is negative left out at every ReLU on its way back.

    The model is not touched: the rule is put on the graph of one forward pass, so that a ReLU is
    found whether it is a module, a function or done in place.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        reduce: from three channels to a pixel: `max_abs`, `sum_abs` or `sum`.

    Returns:
        (N, H, W) float32; at least 0 unless `reduce` is `sum`.

    Raises:
        InvalidInputError: if no ReLU is found (another activation, or a compiled model), for an
            unknown `reduce`, or a target that the model does not have.

    Source: Springenberg et al., ICLR workshop 2015.
    """
    to_pixels = reduction(reduce)
    mean = mean_gradient(
        model, images, targets, lambda _: images.detach(), 1, before_backward=_guide
    )
    return to_pixels(mean)


def _guide(chosen: Tensor) -> None:
    """Let only positive gradients through the ReLUs of the graph that ends in `chosen`."""
    waiting: list[Any] = [chosen.grad_fn]
    seen = set(waiting)
    num_found = 0
    while waiting:
        node = waiting.pop()
        if node.name() == "ReluBackward0":
            node.register_hook(lambda inward, _outward: (inward[0].clamp(min=0),))
            num_found += 1
        before = {earlier for earlier, _ in node.next_functions if earlier is not None} - seen
        seen |= before
        waiting += before
    if num_found == 0:
        raise InvalidInputError(
            "guided_backprop: expected a model with ReLU, found none in its graph; "
            "use method gradient, or the model as it was before torch.compile"
        )


def _one_pass(_setting: Setting, **_options: object) -> float:
    return FORWARD_AND_BACKWARD


def _passes_of_samples(_setting: Setting, *, samples: int = SAMPLES, **_options: object) -> float:
    return FORWARD_AND_BACKWARD * samples


def _passes_of_steps(_setting: Setting, *, steps: int = STEPS, **_options: object) -> float:
    return FORWARD_AND_BACKWARD * steps


for _name, _entry in {
    "gradient": SaliencyMethod(
        title="Gradient",
        source="Simonyan et al., ICLR workshop 2014",
        compute=gradient,
        family="gradient",
        cost=_one_pass,
        pitfalls="says what would change the logit, not what makes it; noisy from pixel to pixel",
    ),
    "smooth_grad": SaliencyMethod(
        title="SmoothGrad",
        source="Smilkov et al., 2017",
        compute=smooth_grad,
        family="gradient",
        cost=_passes_of_samples,
        pitfalls="the noise level decides how smooth; explains a neighbourhood of the image",
    ),
    "integrated_gradients": SaliencyMethod(
        title="Integrated gradients",
        source="Sundararajan et al., ICML 2017",
        compute=integrated_gradients,
        family="gradient",
        cost=_passes_of_steps,
        is_signed=True,
        pitfalls="pixels of the path's first colour get nothing, whatever they mean",
    ),
    "guided_backprop": SaliencyMethod(
        title="Guided backpropagation",
        source="Springenberg et al., ICLR workshop 2015",
        compute=guided_backprop,
        family="gradient",
        cost=_one_pass,
        pitfalls=(
            "close to an edge detector: hardly changes when the upper layers or the class do "
            "(Adebayo et al., NeurIPS 2018)"
        ),
    ),
}.items():
    SALIENCY.add(_name, _entry)
