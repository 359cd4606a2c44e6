"""Image sources: one uint8 tensor in memory, or files decoded by worker threads.

Decoding releases the GIL, so threads are sufficient and nothing needs pickling.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from lico_bench.data import augmentation
from lico_bench.data.image_files import (
    REMEDY,
    Fit,
    ImageHeader,
    decode_image,
    open_image,
    read_header,
)

CACHE_BYTES = 512 * 2**20  # upper limit of the cache of decoded images
PREFETCHED_BATCHES = 3
FILES_PER_JOB = 8  # small enough to keep all workers busy, large enough to hide the overhead
Step = tuple[Tensor, Tensor | None]  # image indices; random draws of a resized crop, if any


class ArrayImages:
    """Images of one size in memory; the tensor is copied to the training device once."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self._device_pixels = pixels
        self._device = pixels.device

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: Tensor) -> Tensor:
        """Return the images at `indices`, (n, 3, H, W) uint8."""
        return self.pixels[indices]

    def stream(self, steps: Iterable[Step], device: torch.device) -> Iterator[Tensor]:
        """Yield one (n, 3, H, W) uint8 batch on `device` per step, with resized crops applied."""
        # The requested device is stored: a tensor moved to `cuda` reports `cuda:0`.
        if self._device != device:
            self._device_pixels, self._device = self.pixels.to(device), device
        for indices, draws in steps:
            images = self._device_pixels[indices.to(device)]
            yield images if draws is None else augmentation.resized_crop(images, draws)

    def subset(self, indices: Tensor) -> ArrayImages:
        """Return a source of the images at `indices`."""
        return ArrayImages(self.pixels[indices])


class FileImages:
    """Encoded images, decoded on demand; uncropped images are cached if all fit the cache."""

    def __init__(self, files: tuple[Path | bytes, ...], image_ids: tuple[str, ...], fit: Fit):
        self.files = files
        self.image_ids = image_ids
        self.fit = fit
        self._cache: Tensor | None = None
        self._is_cached = torch.zeros(len(files), dtype=torch.bool)
        if len(files) * 3 * fit.size**2 <= CACHE_BYTES:
            self._cache = torch.empty(len(files), 3, fit.size, fit.size, dtype=torch.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.fit.size, self.fit.size

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: Tensor) -> Tensor:
        """Return images after the evaluation transform, (n, 3, H, W) uint8."""
        return next(self.stream([(indices, None)], torch.device("cpu")))

    def stream(self, steps: Iterable[Step], device: torch.device) -> Iterator[Tensor]:
        """Yield one (n, 3, S, S) uint8 batch on `device` per step, with resized crops applied.

        Worker threads decode a few batches ahead.
        """
        pending: deque[tuple[Step, list[Future[Tensor]]]] = deque()
        with ThreadPoolExecutor(num_workers()) as workers:
            try:
                for step in steps:
                    pending.append((step, self._submit(workers, step)))
                    if len(pending) > PREFETCHED_BATCHES:
                        yield self._collect(*pending.popleft()).to(device)
                while pending:
                    yield self._collect(*pending.popleft()).to(device)
            finally:
                for _, jobs in pending:
                    for job in jobs:
                        job.cancel()

    def subset(self, indices: Tensor) -> FileImages:
        """Return a source of the images at `indices`."""
        positions = indices.tolist()
        return FileImages(
            tuple(self.files[i] for i in positions),
            tuple(self.image_ids[i] for i in positions),
            self.fit,
        )

    def header(self, index: int) -> ImageHeader:
        """Read size and orientation of a stored image; raises as `decode_image`."""
        with open_image(self.files[index], self.name(index), REMEDY) as image:
            return read_header(image)

    def decode(self, index: int, crop_draws: Tensor | None = None) -> Tensor:
        """Decode one image, (3, S, S) uint8, see `decode_image`."""
        return decode_image(self.files[index], self.name(index), self.fit, crop_draws)

    def name(self, index: int) -> str:
        """Return the path of an image, or its id, for messages."""
        source = self.files[index]
        return self.image_ids[index] if isinstance(source, bytes) else str(source)

    def _submit(self, workers: ThreadPoolExecutor, step: Step) -> list[Future[Tensor]]:
        indices, draws = step
        parts = indices.split(FILES_PER_JOB)
        draws_of_parts = [None] * len(parts) if draws is None else draws.split(FILES_PER_JOB)
        return [
            workers.submit(self._decode_part, *part)
            for part in zip(parts, draws_of_parts, strict=True)
        ]

    def _decode_part(self, indices: Tensor, draws: Tensor | None) -> Tensor:
        images = torch.empty(len(indices), 3, *self.size, dtype=torch.uint8)
        for row, index in enumerate(indices.tolist()):
            if draws is None and self._cache is not None and self._is_cached[index]:
                images[row] = self._cache[index]
            else:
                images[row] = self.decode(index, None if draws is None else draws[row])
        return images

    def _collect(self, step: Step, jobs: list[Future[Tensor]]) -> Tensor:
        indices, draws = step
        images = torch.cat([job.result() for job in jobs])
        if draws is None and self._cache is not None:
            self._cache[indices] = images
            self._is_cached[indices] = True
        return images


ImageSource = ArrayImages | FileImages


def num_workers() -> int:
    """Return the number of decoding threads: the CPU cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
