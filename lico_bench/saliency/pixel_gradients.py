"""Gradients of the target's logit, averaged over states of an image, and channel reductions.

A state is the image itself, a noisy copy or a point on a path. States are processed in
micro-batches, so that the memory does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lico_bench.checks import check_choice
from lico_bench.errors import InvalidInputError
from lico_bench.models import MicroBatchRunner, default_micro_batch, evaluating, target_scores

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "max_abs": lambda values: values.abs().amax(dim=1),
    "sum_abs": lambda values: values.abs().sum(dim=1),
    "sum": lambda values: values.sum(dim=1),
}


def reduction(name: str) -> Callable[[Tensor], Tensor]:
    """Return the reduction from gradients (N, 3, H, W) to pixels (N, H, W) by name.

    Raises:
        InvalidInputError: for an unknown name.
    """
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
