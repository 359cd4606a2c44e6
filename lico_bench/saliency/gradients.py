"""Gradients of the target's logit with respect to the pixels: plain, averaged and guided.

All of them are means over states of an image: the image itself, noisy copies or points on a path.
States are processed in micro-batches, so that the memory does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lico_bench.checks import check_choice, check_count, check_not_negative
from lico_bench.errors import InvalidInputError
from lico_bench.models import MicroBatchRunner, default_micro_batch, evaluating, target_scores
from lico_bench.runtime import make_generator
from lico_bench.saliency import add_method
from lico_bench.saliency.readouts import fill_colour

FORWARD_AND_BACKWARD = 3.0  # a backward pass is counted as two forwards
SAMPLES, STEPS = 25, 32
REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "max_abs": lambda values: values.abs().amax(dim=1),
    "sum_abs": lambda values: values.abs().sum(dim=1),
    "sum": lambda values: values.sum(dim=1),
}


_add = partial(add_method, family="gradient", cost=lambda _inputs, **_: FORWARD_AND_BACKWARD)


@_add(
    "gradient",
    title="Gradient",
    source="Simonyan et al., ICLR workshop 2014",
    pitfalls="says what would change the logit, not what makes it; noisy from pixel to pixel",
)
def gradient(
    model: nn.Module, images: Tensor, targets: Tensor, *, reduce: str = "max_abs"
) -> Tensor:
    """Magnitude of the gradient of the target's logit, max_c |∂y/∂x_c|.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        reduce: reduction over channels: `max_abs` (as in the paper), `sum_abs` or `sum`.

    Returns:
        (N, H, W) float32, per unit of an image in [0, 1]; at least 0 unless `reduce` is `sum`.

    Raises:
        InvalidInputError: for an unknown `reduce`, or a target that the model does not have.

    Source: Simonyan et al., ICLR workshop 2014, section 3.1.
    """
    to_pixels = _reduction(reduce)
    return to_pixels(mean_gradient(model, images, targets, lambda _: images.detach(), 1))


@_add(
    "smooth_grad",
    title="SmoothGrad",
    source="Smilkov et al., 2017",
    cost=lambda _inputs, *, samples=SAMPLES, **_: FORWARD_AND_BACKWARD * samples,
    pitfalls="the noise level decides how smooth; explains a neighbourhood of the image",
)
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
        noise: standard deviation of ε, as a share of the image's max - min; copies may leave
            [0, 1].
        reduce: reduction of the averaged gradient over channels: `sum_abs` (as in the published
            code), `max_abs` or `sum`.
        seed: seed of the noise. All images and models of one size share the noise patterns, so
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
    to_pixels = _reduction(reduce)
    spread = noise * (images.amax((1, 2, 3), True) - images.amin((1, 2, 3), True)).detach()

    def make(sample: int) -> Tensor:
        rng = make_generator(seed, f"smooth_grad:{sample}")
        pattern = torch.randn(images.shape[1:], generator=rng).to(images)
        return images.detach() + spread * pattern

    return to_pixels(mean_gradient(model, images, targets, make, samples))


@_add(
    "integrated_gradients",
    title="Integrated gradients",
    source="Sundararajan et al., ICML 2017",
    cost=lambda _inputs, *, steps=STEPS, **_: FORWARD_AND_BACKWARD * steps,
    is_signed=True,
    pitfalls="pixels of the path's first colour get nothing, whatever they mean",
)
def integrated_gradients(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    steps: int = STEPS,
    fill: float | str = "mean",
    reduce: str = "sum",
) -> Tensor:
    """Contribution of each pixel to the logit on the path from a uniform colour to the image.

    Σ_c (x_c - b_c) · mean_k ∂y/∂x_c (b + (k + 1/2)/steps · (x - b)), k = 0 .. steps - 1.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        steps: number of points on the path, at the midpoints of equal intervals.
        fill: start colour b of the path, "mean" (zero after normalisation) or a grey level in
            [0, 1].
        reduce: reduction over channels: `sum` (preserves the sum of the map), `sum_abs` or
            `max_abs`.

    Returns:
        (N, H, W) float32 in units of the logit. With `sum`, the sum of a map approaches y(x) - y(b)
        for many steps.

    Raises:
        InvalidInputError: for options out of range, or a target that the model does not have.

    Source: Sundararajan et al., ICML 2017, eqs. 1 and 3.
    Differs: the path is sampled at midpoints, not at endpoints, which is exact where the gradient
        changes linearly along the path.
    """
    check_count("steps", steps)
    to_pixels = _reduction(reduce)
    colour = fill_colour(fill, model, images)
    difference = images.detach() - colour
    mean = mean_gradient(
        model, images, targets, lambda step: colour + (step + 0.5) / steps * difference, steps
    )
    return to_pixels(difference * mean)


@_add(
    "guided_backprop",
    title="Guided backpropagation",
    source="Springenberg et al., ICLR workshop 2015",
    pitfalls="close to an edge detector: hardly changes when the upper layers or the class do "
    "(Adebayo et al., NeurIPS 2018)",
)
def guided_backprop(
    model: nn.Module, images: Tensor, targets: Tensor, *, reduce: str = "max_abs"
) -> Tensor:
    """The gradient with negative values set to zero at every ReLU of the backward pass.

    Hooks on the graph of one forward implement the rule. They find ReLU modules, functions and
    in-place calls, and leave the model unchanged.

    Args:
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64 in [0, K), the class to explain.
        reduce: reduction over channels: `max_abs`, `sum_abs` or `sum`.

    Returns:
        (N, H, W) float32; at least 0 unless `reduce` is `sum`.

    Raises:
        InvalidInputError: if the graph has no ReLU (other activations, or a compiled model), for an
            unknown `reduce`, or a target that the model does not have.

    Source: Springenberg et al., ICLR workshop 2015.
    """
    to_pixels = _reduction(reduce)
    mean = mean_gradient(
        model, images, targets, lambda _: images.detach(), 1, before_backward=_clamp_relu_gradients
    )
    return to_pixels(mean)


def _clamp_relu_gradients(score: Tensor) -> None:
    """Clamp the gradients to positive values at every ReLU of the graph of `score`."""
    pending: list[Any] = [score.grad_fn]
    seen = set(pending)
    num_relus = 0
    while pending:
        node = pending.pop()
        if node.name() == "ReluBackward0":
            node.register_hook(lambda grad_inputs, _grad_outputs: (grad_inputs[0].clamp(min=0),))
            num_relus += 1
        unseen = {child for child, _ in node.next_functions if child is not None} - seen
        seen |= unseen
        pending += unseen
    if num_relus == 0:
        raise InvalidInputError(
            "guided_backprop: expected a model with ReLU, found none in its graph; "
            "use the method gradient, or the model without torch.compile"
        )


def _reduction(name: str) -> Callable[[Tensor], Tensor]:
    """Reduction from gradients (N, 3, H, W) to pixels (N, H, W)."""
    check_choice("reduce", name, tuple(REDUCTIONS))
    return REDUCTIONS[name]


def mean_gradient(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    make: Callable[[int], Tensor],
    num_states: int,
    *,
    before_backward: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Gradient of the target's logit, averaged over states, (N, 3, H, W).

    Args:
        make: maps the number of a state to all images in that state, (N, 3, H, W).
        before_backward: called with the sum of the target logits before the backward pass.

    Raises:
        InvalidInputError: if the logits have no gradient to the images.
    """
    size = default_micro_batch(images)
    forwards = MicroBatchRunner(model, size=min(size, len(images) * num_states))
    targets = targets.to(images.device)
    total = torch.zeros_like(images)
    with evaluating(model), torch.enable_grad():
        # A micro-batch holds several states if the images alone do not fill it.
        for group in torch.arange(num_states).split(max(1, size // len(images))):
            states = torch.cat([make(number) for number in group.tolist()])
            states = states.contiguous(memory_format=torch.channels_last)
            state_targets = targets.repeat(len(group))
            gradients = _gradients(forwards, states, state_targets, before_backward)
            total += gradients.view(len(group), *images.shape).sum(0)
    return total / num_states


def _gradients(
    forwards: MicroBatchRunner,
    images: Tensor,
    targets: Tensor,
    before_backward: Callable[[Tensor], None] | None,
) -> Tensor:
    """Gradient of each target's logit with respect to its image, (n, 3, H, W)."""
    highest = int(targets.max())
    leaf = images[:0]

    def make(jobs: Tensor) -> Tensor:
        nonlocal leaf
        leaf = images[jobs].requires_grad_()
        return leaf

    def read(logits: Tensor, jobs: Tensor) -> Tensor:
        score = target_scores(logits, targets[jobs], highest).sum()
        if not score.requires_grad:
            raise InvalidInputError(
                "model: expected logits with a gradient to the images, got none; "
                "do not detach inside the model or run it under torch.no_grad"
            )
        if before_backward is not None:
            before_backward(score)
        return torch.autograd.grad(score, leaf)[0]

    return forwards.run(len(images), make, read, device=images.device)
