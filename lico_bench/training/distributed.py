"""The processes that train one model together, and what they tell each other.

Each batch is drawn as on one device and cut into equal parts, one per process. The optimiser gets
the mean of the processes' gradients. So a term that is a mean over samples is taken over the own
part. A term that compares samples is computed alike by everyone from the rows of all; the gradient
that `gather` hands back to the own rows is `count` times theirs, and the mean puts it right.

torch's wrapper for data-parallel modules is not used: it averages at the end of one backward pass
through one forward, and an objective here may want several of both.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lico_bench.errors import LicoBenchError, LostPeersError, Preempted

T = TypeVar("T")
PATIENCE = timedelta(days=7)  # while the leader reads or writes; a dead peer is noticed at once
AGAIN = "what is finished is stored; repeat the same command to go on from there"


@dataclass(frozen=True)
class Peers:
    """This process's place among those that train one model.

    Attributes:
        rank: number of this process; 0 leads: it alone keeps states and speaks.
        count: processes in all.
        group: for messages and numbers on the CPU, whatever the device of the training.
    """

    rank: int = 0
    count: int = 1
    group: Any = None

    @classmethod
    def meet(cls) -> Peers:
        """The peers of torch's process group, when all of them call this; alone without one."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return ALONE
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
        return cls(dist.get_rank(), dist.get_world_size(), group)

    @property
    def is_leader(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def part(self, rows: Tensor) -> Tensor:
        """The own rows (B / count, ...) of a batch (B, ...)."""
        return rows if self.count == 1 else rows.chunk(self.count)[self.rank]

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes (B, ...) from the own (B / count, ...), in order.

        The gradient of the own rows is `count` times what the value made of all of them says, which
        is right for a value that every process computes alike.
        """
        if self.count == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self.rank, self.count)
        return gathered

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean over the processes of each of some () tensors."""
        if self.count == 1:
            return dict(values)
        stacked = torch.stack([value.float() for value in values.values()])
        dist.all_reduce(stacked)
        return dict(zip(values, stacked.div_(self.count).unbind(), strict=True))

    def mean_numbers(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The mean over the processes of each number."""
        if self.count == 1 or not numbers:
            return dict(numbers)
        stacked = torch.tensor([*numbers.values()], dtype=torch.float64)
        dist.all_reduce(stacked, group=self.group)
        return dict(zip(numbers, (stacked / self.count).tolist(), strict=True))

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the mean over the processes in place of each gradient, in one message per type."""
        if self.count == 1:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_type.values():
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            means = flat.div_(self.count).split([gradient.numel() for gradient in gradients])
            for gradient, mean in zip(gradients, means, strict=True):
                gradient.copy_(mean.view(gradient.shape))

    def largest(self, number: int) -> int:
        """The largest of the processes' numbers."""
        if self.count == 1:
            return number
        message = torch.tensor(number)
        dist.all_reduce(message, dist.ReduceOp.MAX, group=self.group)
        return int(message)

    def any(self, fact: bool) -> bool:
        """Whether `fact` holds in some process."""
        return bool(self.largest(int(fact)))

    def same(self, value: T) -> T:
        """What the leader has for `value`: None, numbers, text, lists, dicts and tensors."""
        if self.count == 1:
            return value
        message: list[Any] = [_packed(value) if self.is_leader else None]
        with self.in_step():
            dist.broadcast_object_list(message, src=0, group=self.group)
        heard: T = value if self.is_leader else _unpacked(message[0])
        return heard

    def attempt(self, work: Callable[[], T]) -> T:
        """The result of `work`, which every process does; what fails in one fails in all.

        Raises:
            LicoBenchError: the own error, or a sentence with that of another process.
        """
        if self.count == 1:
            return work()
        result, error = None, None
        try:
            result = work()
        except Exception as raised:
            error = raised
        with self.in_step():
            failed = self.any(error is not None)
        if failed:
            self._raise_first(error)
        return result  # type: ignore[return-value]  # without an error there is a result

    def _raise_first(self, error: Exception | None) -> None:
        """Raise the own error, or what the first process that has one says of it."""
        message: list[str | None] = [None] * self.count
        with self.in_step():
            dist.all_gather_object(message, _sentence(error), group=self.group)
        if error is not None:
            raise error
        rank, sentence = next((n, text) for n, text in enumerate(message) if text is not None)
        raise LicoBenchError(f"process {rank} of {self.count}: {sentence}")

    def follow_leader(self, work: Callable[[], object]) -> None:
        """Let the leader alone do `work`; where that ends the training, it ends it everywhere.

        Raises:
            LostPeersError: in the others, if it failed in the leader, where it raises its own.
        """
        failure: BaseException | None = None
        if self.is_leader:
            try:
                work()
            except BaseException as raised:
                failure = raised
        if self.count > 1:
            ended = self.same("" if failure is None else type(failure).__name__)
            if ended and not self.is_leader:
                raise (
                    Preempted
                    if ended == Preempted.__name__
                    else LostPeersError(f"the leading process stopped ({ended}); {AGAIN}")
                )
        if failure is not None:
            raise failure

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """For a block in which the processes wait for each other at many places.

        Raises:
            LostPeersError: for an error that is none of ours: the others wait for this process, or
                it waited for one that is gone, so that none of them can go on.
        """
        try:
            yield
        except LicoBenchError:
            raise  # found out together
        except Exception as error:
            if self.count == 1:
                raise
            raise LostPeersError(
                f"process {self.rank} of {self.count} cannot go on with the others "
                f"({type(error).__name__}: {str(error).splitlines()[0]}); {AGAIN}"
            ) from error


ALONE = Peers()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, rank: int, count: int) -> Tensor:
        ctx.rank, ctx.count = rank, count
        own = rows.contiguous()
        parts = [torch.empty_like(own) for _ in range(count)]
        dist.all_gather(parts, own)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        return slope.chunk(ctx.count)[ctx.rank] * ctx.count, None, None


def _sentence(error: Exception | None) -> str | None:
    if error is None:
        return None
    return str(error) if isinstance(error, LicoBenchError) else f"{type(error).__name__}: {error}"


def _packed(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def _unpacked(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
