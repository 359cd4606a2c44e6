"""Batch normalisation with the statistics of all processes, equal to those of one process.

torch's `SyncBatchNorm` does not support CPU tensors and reduces sums of squares. This module
combines means and variances, which is accurate for a mean far from zero.
Source: Ioffe & Szegedy, ICML 2015, section 3.1; Chan et al., 1979, for combining variances.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

REDUCED_AXES = (0, 2, 3)  # batch, height, width


@contextmanager
def synced_norms(module: nn.Module, num_processes: int) -> Iterator[None]:
    """Make every `BatchNorm2d` in training mode use the statistics of all processes.

    All processes must run batches of the same size through the same layers in the same order.
    Parameters, buffers and their names do not change.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d) and num_processes > 1]
    for norm in norms:
        norm.forward = partial(_normalise, norm, num_processes)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _normalise(norm: nn.BatchNorm2d, num_processes: int, maps: Tensor) -> Tensor:
    """Apply `norm` to maps (N, C, h, w), the local part of a larger batch."""
    if not norm.training:
        return nn.BatchNorm2d.forward(norm, maps)
    normalised: Tensor
    normalised, mean, variance = _SyncedNorm.apply(
        maps, norm.weight, norm.bias, norm.eps, num_processes
    )
    if norm.running_mean is not None:
        _update_running_statistics(
            norm, mean, variance, num_processes * maps.numel() // maps.shape[1]
        )
    return normalised


def _update_running_statistics(norm: Any, mean: Tensor, variance: Tensor, num_values: int) -> None:
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        unbiased = variance * (num_values / max(1, num_values - 1))
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(unbiased, momentum)


class _SyncedNorm(torch.autograd.Function):
    """y = w (x - μ) / √(σ² + ε) + b with μ, σ² of all processes; also returns μ and σ².

    The gradients of w and b are those of the local part, as for every other parameter. The gradient
    of x includes the effect of μ and σ² in all processes.
    """

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float, num_processes: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = _combined_moments(maps, num_processes)
        ctx.save_for_backward(maps, weight, mean, variance)
        ctx.eps, ctx.num_processes = eps, num_processes
        ctx.mark_non_differentiable(mean, variance)
        normalised = F.batch_norm(maps, mean, variance, weight, bias, training=False, eps=eps)
        return normalised, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_output: Tensor, _mean: Tensor, _variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        maps, weight, mean, variance = ctx.saved_tensors
        # Gradients of x, w and b with μ and σ² as constants.
        grad_maps, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad_output, maps, weight, mean, variance, None, None, False, ctx.eps,
            [True, True, True],
        )  # fmt: skip
        sums = torch.stack([grad_bias, grad_weight]).float()
        dist.all_reduce(sums)
        num_values = ctx.num_processes * maps.numel() // maps.shape[1]
        inverse_std = (variance + ctx.eps).rsqrt()
        mean_term, variance_term = weight * inverse_std * sums / num_values
        # dx = a (dy - mean(dy) - x̂ mean(dy x̂)) with a = w / √(σ² + ε) and x̂ = (x - μ) / √(σ² + ε).
        scale = -variance_term * inverse_std
        offset = -mean_term - mean * scale
        grad_maps = grad_maps.addcmul(maps, _per_channel(scale, maps))
        grad_maps = grad_maps.add_(_per_channel(offset, maps))
        return grad_maps, grad_weight, grad_bias, None, None


def _combined_moments(maps: Tensor, num_processes: int) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance (C,) float32 over the equal parts of all processes."""
    single = maps.float()
    mean = single.mean(REDUCED_AXES)
    variance = (single - _per_channel(mean, single)).square_().mean(REDUCED_AXES)
    local = torch.stack([mean, variance])
    parts = [torch.empty_like(local) for _ in range(num_processes)]
    dist.all_gather(parts, local)
    means, variances = torch.stack(parts, 1)
    total_mean = means.mean(0)
    return total_mean, variances.mean(0) + (means - total_mean).square().mean(0)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (C,) to (1, C, 1, 1), in the dtype of `like`."""
    return values.to(like.dtype)[None, :, None, None]
