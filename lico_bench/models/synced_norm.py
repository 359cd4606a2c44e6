"""Batch normalisation over the batch of all processes, as one process would see it.

torch's own `SyncBatchNorm` refuses tensors on the CPU and exchanges sums of squares; here means and
variances are joined, which keeps the digits of a mean far from zero.
Source: Ioffe & Szegedy, ICML 2015, section 3.1; Chan et al., 1979, for joining variances.
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

OVER = (0, 2, 3)  # batch, height, width


@contextmanager
def synced_norms(module: nn.Module, num_processes: int) -> Iterator[None]:
    """Inside the block every `BatchNorm2d` in training mode takes the statistics of all processes.

    All processes send batches of the same size through the same layers in the same order. Names
    and tensors of the state stay what they were.
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
    """What `norm` makes of maps (N, C, h, w), a share of a larger batch."""
    if not norm.training:
        return nn.BatchNorm2d.forward(norm, maps)
    normalised: Tensor
    normalised, mean, variance = _SyncedNorm.apply(
        maps, norm.weight, norm.bias, norm.eps, num_processes
    )
    if norm.running_mean is not None:
        _follow(norm, mean, variance, num_processes * maps.numel() // maps.shape[1])
    return normalised


def _follow(norm: Any, mean: Tensor, variance: Tensor, num_values: int) -> None:
    """Move the running statistics of `norm` as the layer itself does."""
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        unbiased = variance * (num_values / max(1, num_values - 1))
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(unbiased, share)


class _SyncedNorm(torch.autograd.Function):
    """y = w (x - μ) / √(σ² + ε) + b with μ, σ² of all processes; also gives μ and σ².

    The gradients of w and b are those of the own share, like those of every other parameter; that
    of x counts what all processes make of μ and σ².
    """

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float, num_processes: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = _joined_moments(maps, num_processes)
        ctx.save_for_backward(maps, weight, mean, variance)
        ctx.eps, ctx.num_processes = eps, num_processes
        ctx.mark_non_differentiable(mean, variance)
        normalised = F.batch_norm(maps, mean, variance, weight, bias, training=False, eps=eps)
        return normalised, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, slope: Tensor, _mean: Tensor, _variance: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        maps, weight, mean, variance = ctx.saved_tensors
        # With μ and σ² held: one pass gives the slopes of x, w and b.
        of_maps, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            slope, maps, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([of_bias, of_weight]).float()
        dist.all_reduce(sums)
        num_values = ctx.num_processes * maps.numel() // maps.shape[1]
        steepness = (variance + ctx.eps).rsqrt()
        through_mean, through_root = weight * steepness * sums / num_values
        # dx = a (dy - mean(dy) - x̂ mean(dy x̂)) with a = w / √(σ² + ε) and x̂ = (x - μ) / √(σ² + ε).
        per_value = -through_root * steepness
        offset = -through_mean - mean * per_value
        of_maps = of_maps.addcmul(maps, _wide(per_value, maps)).add_(_wide(offset, maps))
        return of_maps, of_weight, of_bias, None, None


def _joined_moments(maps: Tensor, num_processes: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (C,) float32 over the shares of all processes, of equal size."""
    single = maps.float()
    mean = single.mean(OVER)
    variance = (single - _wide(mean, single)).square_().mean(OVER)
    own = torch.stack([mean, variance])
    shares = [torch.empty_like(own) for _ in range(num_processes)]
    dist.all_gather(shares, own)
    means, variances = torch.stack(shares, 1)
    joined = means.mean(0)
    return joined, variances.mean(0) + (means - joined).square().mean(0)


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """(C,) as (1, C, 1, 1), in the precision of `like`."""
    return values.to(like.dtype)[None, :, None, None]
