"""Pixels of a split: held as one uint8 tensor, or decoded from files by worker threads.

Decoding releases the interpreter's lock, so threads suffice and nothing has to be pickled.
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
    as_rgb,
    broken_image,
    open_image,
    stored_image,
    turn_image,
)
from lico_bench.errors import MissingDataError

CACHE_BYTES = 512 * 2**20  # decoded images are kept up to this sum, so memory stays bounded
PREFETCHED_BATCHES = 3
FILES_PER_JOB = 8  # small enough to keep all workers busy, large enough to hide the hand-over
REMEDY = "restore it from the official archive, or pass --skip-broken"
Step = tuple[Tensor, Tensor | None]  # image indices; draws of a resized crop, if there is one


class ImageSource(Protocol):
    """A sequence of images at one size, as bytes."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""

    def __len__(self) -> int: ...

    def take(self, indices: Tensor) -> Tensor:
        """(n, 3, H, W) uint8 after the evaluation transform."""

    def stream(self, steps: Iterable[Step], device: torch.device) -> Iterator[Tensor]:
        """One (n, 3, H, W) uint8 batch on `device` per step, resized crops already applied."""

    def subset(self, indices: Tensor) -> ImageSource:
        """The images at `indices`."""


class ArrayImages:
    """Images that fit into memory; the tensor follows to the device once and stays there."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self._placed = pixels
        self._place = pixels.device

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, indices: Tensor) -> Tensor:
        """(n, 3, H, W) uint8."""
        return self.pixels[indices]

    def stream(self, steps: Iterable[Step], device: torch.device) -> Iterator[Tensor]:
        """One batch per step, gathered on `device`."""
        # The name asked for is kept: a tensor sent to `cuda` says it is on `cuda:0`.
        if self._place != device:
            self._placed, self._place = self.pixels.to(device), device
        for indices, draws in steps:
            images = self._placed[indices.to(device)]
            yield images if draws is None else augmentation.resized_crop(images, draws)

    def subset(self, indices: Tensor) -> ArrayImages:
        """The images at `indices`."""
        return ArrayImages(self.pixels[indices])


class FileImages:
    """Encoded images, decoded when needed; those in evaluation form are kept while they fit."""

    def __init__(self, files: tuple[Path | bytes, ...], image_ids: tuple[str, ...], fit: Fit):
        self.files = files
        self.image_ids = image_ids
        self.fit = fit
        self._kept: Tensor | None = None
        self._is_kept = torch.zeros(len(files), dtype=torch.bool)
        if len(files) * 3 * fit.size**2 <= CACHE_BYTES:
            self._kept = torch.empty(len(files), 3, fit.size, fit.size, dtype=torch.uint8)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.fit.size, self.fit.size

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: Tensor) -> Tensor:
        """(n, 3, H, W) uint8 after the evaluation transform."""
        return next(self.stream([(indices, None)], torch.device("cpu")))

    def stream(self, steps: Iterable[Step], device: torch.device) -> Iterator[Tensor]:
        """One batch per step, decoded ahead by worker threads while the caller computes."""
        waiting: deque[tuple[Step, list[Future[Tensor]]]] = deque()
        with ThreadPoolExecutor(num_workers()) as workers:
            try:
                for step in steps:
                    waiting.append((step, self._submit(workers, step)))
                    if len(waiting) > PREFETCHED_BATCHES:
                        yield self._collect(*waiting.popleft()).to(device)
                while waiting:
                    yield self._collect(*waiting.popleft()).to(device)
            finally:
                for _, jobs in waiting:
                    for job in jobs:
                        job.cancel()

    def subset(self, indices: Tensor) -> FileImages:
        """The images at `indices`."""
        chosen = indices.tolist()
        return FileImages(
            tuple(self.files[i] for i in chosen), tuple(self.image_ids[i] for i in chosen), self.fit
        )

    def stored(self, index: int) -> ImageHeader:
        """Size and orientation of the image as it lies on disk."""
        with self._open(index) as image:
            return stored_image(image)

    def decode(self, index: int, crop_draws: Tensor | None = None) -> Tensor:
        """(3, S, S) uint8: one image in evaluation form, or a random resized crop of it.

        Raises:
            MissingDataError: if its file is gone.
            BrokenFileError: if its file is no whole image.
        """
        with self._open(index) as image:
            try:
                fitted = self._fitted(image, crop_draws)
            except DECODING_ERRORS as error:
                source, name = self.files[index], self._name(index)
                raise broken_image(source, name, error, REMEDY) from error
        # The copy makes the array writable, which torch asks for.
        return torch.from_numpy(np.array(fitted)).permute(2, 0, 1)

    def _fitted(self, image: Image.Image, crop_draws: Tensor | None) -> Image.Image:
        stored = stored_image(image)
        height, width = stored.upright
        if crop_draws is None:
            if not self.fit.cut_bottom_px:
                # JPEG decodes straight to 1/2, 1/4 or 1/8, never below the size asked for.
                target = ImageHeader(*self.fit.resized(height, width), stored.orientation)
                image.draft(None, target.upright[::-1])  # there and back is the same exchange
            fitted: Image.Image = self.fit.apply(_upright_rgb(image, stored), height, width)
            return fitted
        from torchvision.transforms.v2 import functional as transforms  # seconds to import

        box = augmentation.crop_box(crop_draws, height - self.fit.cut_bottom_px, width)
        cropped: Image.Image = transforms.resized_crop(
            _upright_rgb(image, stored), *box, [self.fit.size, self.fit.size], antialias=True
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
            workers.submit(self._decode_some, indices[i : i + FILES_PER_JOB], part)
            for i in range(0, len(indices), FILES_PER_JOB)
            for part in [None if draws is None else draws[i : i + FILES_PER_JOB]]
        ]

    def _decode_some(self, indices: Tensor, draws: Tensor | None) -> Tensor:
        out = torch.empty(len(indices), 3, *self.size, dtype=torch.uint8)
        for place, index in enumerate(indices.tolist()):
            if draws is not None:
                out[place] = self.decode(index, draws[place])
            elif self._kept is not None and self._is_kept[index]:
                out[place] = self._kept[index]
            else:
                out[place] = self.decode(index)
        return out

    def _collect(self, step: Step, jobs: list[Future[Tensor]]) -> Tensor:
        indices, draws = step
        if not jobs:
            return torch.empty(0, 3, *self.size, dtype=torch.uint8)
        images = torch.cat([job.result() for job in jobs])
        if draws is None and self._kept is not None:
            self._kept[indices] = images
            self._is_kept[indices] = True
        return images


def num_workers() -> int:
    """Worker threads for decoding: the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _upright_rgb(image: Image.Image, stored: ImageHeader) -> Image.Image:
    image.load()  # a TIFF file is turned by its decoder, when it has decoded
    return as_rgb(turn_image(image, stored.orientation))
