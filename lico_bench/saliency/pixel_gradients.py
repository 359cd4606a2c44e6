"""The mean, over states of an image, of the gradient of the target's logit, and its reductions.

States are the image itself, noisy copies, points on a path. They go through the model in
micro-batches; memory does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lico_bench.checks import check_choice
from lico_bench.errors import InvalidInputError
from lico_bench.models import Forwards, default_micro_batch, evaluating, of_target

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "max_abs": lambda values: values.abs().amax(dim=1),
    "sum_abs": lambda values: values.abs().sum(dim=1),
    "sum": lambda values: values.sum(dim=1),
}


def reduction(name: str) -> Callable[[Tensor], Tensor]:
    """From gradients (N, 3, H, W) to pixels (N, H, W), by name.

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
    """Mean over states of the gradient of the target's logit, (N, 3, H, W).

    Args:
        make: from the number of a state to all images in it, (N, 3, H, W).
        before_backward: is shown the sum of the logits while its graph is whole.
    """
    size = default_micro_batch(images)
    forwards = Forwards(model, size=min(size, len(images) * num_states))
    targets = targets.to(images.device)
    total = torch.zeros_like(images)
    with evaluating(model), torch.enable_grad():
        # A few images do not fill a micro-batch: then several states go into one.
        for group in torch.arange(num_states).split(max(1, size // len(images))):
            states = torch.cat([make(number) for number in group.tolist()])
            states = states.contiguous(memory_format=torch.channels_last)
            wanted = targets.repeat(len(group))
            gradients = _gradients(forwards, states, wanted, before_backward)
            total += gradients.view(len(group), *images.shape).sum(0)
    return total / num_states


def _gradients(
    forwards: Forwards,
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
        chosen = of_target(logits, targets[jobs], highest).sum()
        if not chosen.requires_grad:
            raise InvalidInputError(
                "model: expected logits with a gradient to the images, got none; "
                "do not detach inside the model or run it under torch.no_grad"
            )
        if before_backward is not None:
            before_backward(chosen)
        return torch.autograd.grad(chosen, leaf)[0]

    return forwards.run(len(images), make, read, device=images.device)
