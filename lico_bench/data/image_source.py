"""Image sources: one uint8 tensor in memory, or files decoded by worker threads.

Decoding releases the GIL, so threads are sufficient and nothing needs pickling.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lico_bench.data import augmentation
from lico_bench.data.geometry import Fit
from lico_bench.data.image_files import (
    DECODING_ERRORS,
    ImageHeader,
    broken_image_error,
    open_image,
    orient_image,
    read_header,
    to_rgb,
)
from lico_bench.errors import MissingDataError

CACHE_BYTES = 512 * 2**20  # upper limit of the cache of decoded images
PREFETCHED_BATCHES = 3
FILES_PER_JOB = 8  # small enough to keep all workers busy, large enough to hide the overhead
REMEDY = "restore it from the official archive, or pass --skip-broken"
Step = tuple[Tensor, Tensor | None]  # image indices; random draws of a resized crop, if any


class ImageSource(Protocol):
    """A sequence of uint8 images of one size."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> Tensor:
        """Return images after the evaluation transform, (n, 3, H, W) uint8."""

    def stream(self, steps: Iterable[Step], device: torch.device) -> Iterator[Tensor]:
        """Yield one (n, 3, H, W) uint8 batch on `device` per step, with resized crops applied."""

    def subset(self, indices: Tensor) -> ImageSource:
        """Return a source of the images at `indices`."""


class ArrayImages:
    """Images in memory; the tensor is copied to the training device once."""

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
        """Yield one batch per step, gathered on `device`."""
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
        """Yield one batch per step; worker threads decode a few batches ahead."""
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
        """Read size and orientation of the stored image.

        Raises:
            MissingDataError: if its file does not exist.
            BrokenFileError: if its file is not an image.
        """
        with self._open(index) as image:
            return read_header(image)

    def decode(self, index: int, crop_draws: Tensor | None = None) -> Tensor:
        """Decode one image, (3, S, S) uint8.

        Args:
            crop_draws: random numbers of a resized crop; None applies the evaluation transform.

        Raises:
            MissingDataError: if its file does not exist.
            BrokenFileError: if its file is damaged or not an image.
        """
        with self._open(index) as image:
            try:
                resized = self._resize(image, crop_draws)
            except DECODING_ERRORS as error:
                source, name = self.files[index], self._name(index)
                raise broken_image_error(source, name, error, REMEDY) from error
        # The copy makes the array writable, as torch requires.
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)

    def _resize(self, image: Image.Image, crop_draws: Tensor | None) -> Image.Image:
        header = read_header(image)
        height, width = header.upright_size
        if crop_draws is None:
            if not self.fit.cut_bottom_px:
                # JPEG decodes directly to 1/2, 1/4 or 1/8, never below the requested size.
                target = ImageHeader(*self.fit.resized(height, width), header.orientation)
                # `upright_size` is its own inverse: it gives the target size in stored axes.
                image.draft(None, target.upright_size[::-1])
            fitted: Image.Image = self.fit.apply(_upright_rgb(image, header), height, width)
            return fitted
        from torchvision.transforms.v2 import functional as transforms  # seconds to import

        box = augmentation.crop_box(crop_draws, height - self.fit.cut_bottom_px, width)
        cropped: Image.Image = transforms.resized_crop(
            _upright_rgb(image, header), *box, [self.fit.size, self.fit.size], antialias=True
        )
        return cropped

    def _open(self, index: int) -> Image.Image:
        try:
            return open_image(self.files[index], self._name(index), REMEDY)
        except FileNotFoundError as error:
            raise MissingDataError(
                f"{self._name(index)}: image missing; restore it from the official archive"
            ) from error

    def _name(self, index: int) -> str:
        source = self.files[index]
        return self.image_ids[index] if isinstance(source, bytes) else str(source)

    def _submit(self, workers: ThreadPoolExecutor, step: Step) -> list[Future[Tensor]]:
        indices, draws = step
        return [
            workers.submit(self._decode_chunk, indices[i : i + FILES_PER_JOB], chunk_draws)
            for i in range(0, len(indices), FILES_PER_JOB)
            for chunk_draws in [None if draws is None else draws[i : i + FILES_PER_JOB]]
        ]

    def _decode_chunk(self, indices: Tensor, draws: Tensor | None) -> Tensor:
        images = torch.empty(len(indices), 3, *self.size, dtype=torch.uint8)
        for row, index in enumerate(indices.tolist()):
            if draws is not None:
                images[row] = self.decode(index, draws[row])
            elif self._cache is not None and self._is_cached[index]:
                images[row] = self._cache[index]
            else:
                images[row] = self.decode(index)
        return images

    def _collect(self, step: Step, jobs: list[Future[Tensor]]) -> Tensor:
        indices, draws = step
        if not jobs:
            return torch.empty(0, 3, *self.size, dtype=torch.uint8)
        images = torch.cat([job.result() for job in jobs])
        if draws is None and self._cache is not None:
            self._cache[indices] = images
            self._is_cached[indices] = True
        return images


def num_workers() -> int:
    """Return the number of decoding threads: the CPU cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _upright_rgb(image: Image.Image, header: ImageHeader) -> Image.Image:
    image.load()  # Pillow rotates TIFF images here
    return to_rgb(orient_image(image, header.orientation))
