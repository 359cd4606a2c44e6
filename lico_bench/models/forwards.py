"""Many images through one model: micro-batches of one size, counted, halved when memory is short.

A last micro-batch that is not full is filled up with its final image, so that kernels and sums
never see a remainder: an image's result does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lico_bench.checks import check_count
from lico_bench.errors import OutOfMemoryError
from lico_bench.models.classifier import logits_of
from lico_bench.models.tap import evaluating

LogitsModel = Callable[[Tensor], Any]

SMALL_PIXELS = 64 * 64  # up to here a CPU's caches like larger batches
MICRO_BATCH_SMALL = 64
MICRO_BATCH_LARGE = 16
MICRO_BATCH_GPU = 256


class Forwards:
    """A model that is asked for many images.

    Args:
        model: from images (n, 3, H, W) in [0, 1] to logits (n, K), or an `Output`.
        size: images per forward; halved, for good, when memory runs out.

    Attributes:
        sent: images asked for so far; those that fill up a micro-batch do not count.
    """

    def __init__(self, model: LogitsModel, *, size: int) -> None:
        check_count("micro_batch", size)
        self.model = model
        self.size = size
        self.sent = 0

    def run(
        self,
        num_jobs: int,
        make: Callable[[Tensor], Tensor],
        read: Callable[[Tensor, Tensor], Tensor],
        *,
        device: torch.device,
    ) -> Tensor:
        """One result per job.

        Args:
            make: from job numbers (n,) to their images (n, 3, H, W).
            read: from logits (n, K) and job numbers (n,) to results (n, ...).

        Returns:
            (num_jobs, ...) on `device`.

        Raises:
            OutOfMemoryError: if not even one image fits.
        """
        results = []
        start = 0
        while start < num_jobs:
            jobs = torch.arange(start, start + self.size, device=device).clamp_(max=num_jobs - 1)
            with _memory_may_run_out() as attempt:
                result = read(logits_of(self.model(make(jobs))), jobs)
            if attempt.failed:
                self.size = halved(self.size)
                continue
            results.append(result[: num_jobs - start])
            start += self.size
        self.sent += num_jobs
        return torch.cat(results)


class _Attempt:
    failed = False


@contextmanager
def _memory_may_run_out() -> Iterator[_Attempt]:
    # The error is dropped before the next try: its traceback holds the tensors that did not fit.
    attempt = _Attempt()
    try:
        yield attempt
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        attempt.failed = True
    if attempt.failed and torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_halves(compute: Callable[[slice], Tensor], num_images: int) -> Tensor:
    """`compute` of all images at once, or of ever smaller parts while memory runs out.

    Args:
        compute: from a range of images (n of them) to their results (n, ...).

    Returns:
        (num_images, ...).
    """
    size, start = num_images, 0
    results: list[Tensor] = []
    while start < num_images:
        with _memory_may_run_out() as attempt:
            results.append(compute(slice(start, min(start + size, num_images))))
        if attempt.failed:
            size = halved(size)
            continue
        start += size
    return torch.cat(results)


def halved(size: int) -> int:
    """Half of a batch size.

    Raises:
        OutOfMemoryError: for a batch of one.
    """
    if size == 1:
        raise OutOfMemoryError(
            "memory ran out with a single image; use a smaller image_size or backbone, "
            "or another --device"
        )
    return size // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a tensor did not fit, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def default_micro_batch(images: Tensor) -> int:
    """Images per forward: small batches stay in a CPU's caches (measured, benchmarks/)."""
    if images.device.type != "cpu":
        return MICRO_BATCH_GPU
    is_small = images.shape[-2] * images.shape[-1] <= SMALL_PIXELS
    return MICRO_BATCH_SMALL if is_small else MICRO_BATCH_LARGE


@contextmanager
def scoring(model: LogitsModel) -> Iterator[None]:
    """Inference mode, and evaluation mode where the model is a module; both end with the block."""
    if isinstance(model, nn.Module):
        with evaluating(model), torch.inference_mode():
            yield
    else:
        with torch.inference_mode():
            yield
