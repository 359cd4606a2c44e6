"""Data-parallel training of one model: the process group and its collective operations.

Each batch is drawn as on one device and split into equal parts, one per process. The optimiser
receives the mean of the processes' gradients. A term that is a mean over samples is computed on the
local part. A term that compares samples is computed by every process from the gathered rows of all;
the backward pass of `gather` multiplies the gradient of the local rows by `count`, which the mean
over the processes divides out.

torch's DistributedDataParallel is not used: it averages at the end of one backward pass through one
forward pass, and an objective here may need several of both. Nor is torch's `SyncBatchNorm`: it
does not support CPU tensors and reduces sums of squares. `synced_norms` combines means and
variances, which is accurate for a mean far from zero.
Source: Ioffe & Szegedy, ICML 2015, section 3.1; Chan et al., 1979, for combining variances.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.errors import LicoBenchError, LostPeersError, Preempted

T = TypeVar("T")
REDUCED_AXES = (0, 2, 3)  # of batch normalisation: batch, height, width
TIMEOUT = timedelta(days=7)  # for reads and writes of the leader; a lost peer is noticed at once
RESUME_HINT = "finished work is stored; repeat the same command to resume"


@dataclass(frozen=True)
class Peers:
    """The process group that trains one model, seen from one process.

    Attributes:
        rank: index of this process; rank 0 is the leader, which alone stores states and reports.
        count: number of processes.
        group: gloo group for Python objects and CPU tensors, whatever the training device.
    """

    rank: int = 0
    count: int = 1
    group: Any = None

    @classmethod
    def from_process_group(cls) -> Peers:
        """Return the peers of torch's process group; every process must call this.

        Without a process group, return `SINGLE_PROCESS`.
        """
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return SINGLE_PROCESS
        group = dist.new_group(backend="gloo", timeout=TIMEOUT)
        return cls(dist.get_rank(), dist.get_world_size(), group)

    @property
    def is_leader(self) -> bool:
        """Whether this process stores and reports for all."""
        return self.rank == 0

    def part(self, rows: Tensor) -> Tensor:
        """Return the local rows (B / count, ...) of a batch (B, ...)."""
        return rows if self.count == 1 else rows.chunk(self.count)[self.rank]

    def gather(self, rows: Tensor) -> Tensor:
        """Concatenate the local rows (B / count, ...) of all processes to (B, ...), by rank.

        The gradient of the local rows is multiplied by `count`. This is correct for a value that
        every process computes identically from all rows, because gradients are averaged afterwards.
        """
        if self.count == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self.rank, self.count)
        return gathered

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean over the processes of each () tensor."""
        if self.count == 1:
            return dict(values)
        stacked = torch.stack([value.float() for value in values.values()])
        dist.all_reduce(stacked)
        return dict(zip(values, stacked.div_(self.count).unbind(), strict=True))

    def mean_numbers(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Return the mean over the processes of each number."""
        if self.count == 1 or not numbers:
            return dict(numbers)
        stacked = torch.tensor([*numbers.values()], dtype=torch.float64)
        dist.all_reduce(stacked, group=self.group)
        return dict(zip(numbers, (stacked / self.count).tolist(), strict=True))

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes, with one reduction per dtype."""
        if self.count == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                by_dtype.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_dtype.values():
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            means = flat.div_(self.count).split([gradient.numel() for gradient in gradients])
            for gradient, mean in zip(gradients, means, strict=True):
                gradient.copy_(mean.view(gradient.shape))

    def maximum(self, number: int) -> int:
        """Return the maximum of `number` over the processes."""
        if self.count == 1:
            return number
        value = torch.tensor(number)
        dist.all_reduce(value, dist.ReduceOp.MAX, group=self.group)
        return int(value)

    def any(self, condition: bool) -> bool:
        """Return whether `condition` holds in any process."""
        return bool(self.maximum(int(condition)))

    def broadcast(self, value: T) -> T:
        """Return the leader's `value`: None, numbers, text, lists, dicts and tensors."""
        if self.count == 1:
            return value
        stream = io.BytesIO()
        torch.save(value if self.is_leader else None, stream)
        content: list[Any] = [stream.getvalue()]
        with self.synchronised():
            dist.broadcast_object_list(content, src=0, group=self.group)
        if self.is_leader:
            return value
        received: T = torch.load(io.BytesIO(content[0]), map_location="cpu", weights_only=True)
        return received

    def run_on_all(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, run by every process; an error in one is raised in all.

        Raises:
            LicoBenchError: the local error, or the message of another process's error.
        """
        if self.count == 1:
            return work()
        result, error = None, None
        try:
            result = work()
        except Exception as raised:
            error = raised
        with self.synchronised():
            failed = self.any(error is not None)
        if not failed:
            return result  # type: ignore[return-value]  # without an error there is a result
        message = f"{type(error).__name__}: {error}" if error is not None else None
        if isinstance(error, LicoBenchError):
            message = str(error)
        messages: list[str | None] = [None] * self.count
        with self.synchronised():
            dist.all_gather_object(messages, message, group=self.group)
        if error is not None:
            raise error
        rank, message = next((n, text) for n, text in enumerate(messages) if text is not None)
        raise LicoBenchError(f"process {rank} of {self.count}: {message}")

    def run_on_leader(self, work: Callable[[], object]) -> None:
        """Run `work` on the leader only; if it raises, all processes stop.

        Raises:
            Preempted: if `work` raised it.
            LostPeersError: in the other processes, for any other error; the leader raises the error
                itself.
        """
        failure: BaseException | None = None
        if self.is_leader:
            try:
                work()
            except BaseException as raised:
                failure = raised
        if self.count > 1:
            reason = self.broadcast("" if failure is None else type(failure).__name__)
            if reason and not self.is_leader:
                raise (
                    Preempted
                    if reason == Preempted.__name__
                    else LostPeersError(f"the leading process stopped ({reason}); {RESUME_HINT}")
                )
        if failure is not None:
            raise failure

    @contextmanager
    def synchronised(self) -> Iterator[None]:
        """Convert unexpected errors in a block of collective operations.

        Raises:
            LostPeersError: for an error other than LicoBenchError: the other processes wait for
                this one, or this one waited for a lost process, so no process can continue.
        """
        try:
            yield
        except LicoBenchError:
            raise  # raised in all processes
        except Exception as error:
            if self.count == 1:
                raise
            raise LostPeersError(
                f"process {self.rank} of {self.count} cannot continue with the others "
                f"({type(error).__name__}: {str(error).splitlines()[0]}); {RESUME_HINT}"
            ) from error


SINGLE_PROCESS = Peers()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, rank: int, count: int) -> Tensor:
        ctx.rank, ctx.count = rank, count
        local = rows.contiguous()
        parts = [torch.empty_like(local) for _ in range(count)]
        dist.all_gather(parts, local)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.chunk(ctx.count)[ctx.rank] * ctx.count, None, None


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
