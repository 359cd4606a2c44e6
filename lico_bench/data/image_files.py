"""Images of a split: a tensor in memory, or untrusted files decoded by worker threads.

Decoding releases the GIL, so threads are sufficient and nothing needs pickling. Of a file:

- The format is detected from the content, not the file name, and restricted to `IMAGE_FORMATS`:
  Pillow passes some other formats to external programs (PostScript to Ghostscript).
- An image that declares more than `MAX_PIXELS` pixels is rejected before decoding.
- Images are rotated to their EXIF orientation. Regions are given in stored pixels and rotated
  in the same way.
- As in torchvision, alpha is dropped and colour profiles are not applied. The first frame of an
  animation is read. Of 16 bits per channel the upper 8 are kept.
- `Fit` is the evaluation transform; it resizes and crops an image, and its region, to the model's
  size.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from lico_bench.data import image_batches
from lico_bench.data.cards import DatasetCard
from lico_bench.errors import BrokenFileError, MissingDataError

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "PPM", "TIFF", "GIF")
MAX_PIXELS = 2**26  # 67 megapixels, 200 MB decoded; more than usual camera images
CACHE_BYTES = 512 * 2**20  # upper limit of the cache of decoded images
RESIZE_CHUNK = 1024  # antialiased resizing converts to float, four times the bytes
PREFETCHED_BATCHES = 3
FILES_PER_JOB = 8  # small enough to keep all workers busy, large enough to hide the overhead
Step = tuple[Tensor, Tensor | None]  # image indices; random draws of a resized crop, if any
# Raised by Pillow's decoders on damaged files and on decompression bombs.
DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError,
    ArithmeticError, MemoryError, RuntimeError, NotImplementedError, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip
_TRANSPOSITIONS = {  # by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
UPRIGHT = 1
# EXIF orientations with exchanged axes, and those flipped after the exchange.
_TRANSPOSED = (5, 6, 7, 8)
_FLIPPED_HORIZONTALLY, _FLIPPED_VERTICALLY = (2, 3, 6, 7), (3, 4, 7, 8)


@dataclass(frozen=True)
class Fit:
    """The evaluation transform; it applies to images, masks and boxes alike.

    `repr(Fit)` is part of dataset fingerprints: do not rename the class or its fields.
    """

    size: int
    mode: str = "crop"
    resize_frac: float = 1.0
    cut_bottom_px: int = 0

    @classmethod
    def of(cls, card: DatasetCard, image_size: int | None = None) -> Fit:
        """Return the card's transform at `image_size`, or at the card's size if None."""
        size = image_size or card.image_size
        return cls(size, card.fit, card.resize_frac, card.cut_bottom_px)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width after resizing an image, before the centre crop."""
        if self.mode == "squash":
            return self.size, self.size
        shorter = round(self.size * self.resize_frac)
        height -= self.cut_bottom_px
        if height <= width:
            return shorter, max(shorter, round(width * shorter / height))
        return max(shorter, round(height * shorter / width)), shorter

    def apply(self, image: Image.Image, height: int, width: int) -> Image.Image:
        """Transform an upright image; the result is that of torchvision's functions.

        Args:
            height, width: of the image at full scale. If `cut_bottom_px` is 0, `image` may have
                been decoded at a reduced scale: the target size is the same.
        """
        rows, columns, top, left = self._geometry(height, width)
        if self.cut_bottom_px:
            image = image.crop((0, 0, width, height - self.cut_bottom_px))
        if image.size != (columns, rows):
            image = image.resize((columns, rows), Image.Resampling.BILINEAR)
        return image.crop((left, top, left + self.size, top + self.size))

    def apply_to_mask(self, mask: Tensor) -> Tensor:
        """Transform an upright mask (H, W) bool to (S, S) bool, by nearest neighbours."""
        height, width = mask.shape
        rows, columns, top, left = self._geometry(height, width)
        kept = mask[None, None, : height - self.cut_bottom_px].float()
        resized = F.interpolate(kept, size=(rows, columns), mode="nearest")
        # Negative padding crops.
        sides = (-left, left + self.size - columns, -top, top + self.size - rows)
        return F.pad(resized, sides)[0, 0].bool()

    def apply_to_boxes(self, boxes: Tensor, height: int, width: int) -> Tensor:
        """Transform boxes (B, 4) of an upright image; they may extend beyond the result."""
        rows, columns, top, left = self._geometry(height, width)
        scale = (columns / width, rows / (height - self.cut_bottom_px))
        return boxes * torch.tensor([*scale, *scale]) - torch.tensor([left, top, left, top])

    def _geometry(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return rows and columns after resizing, and top and left of the centre crop."""
        rows, columns = self.resized(height, width)
        return rows, columns, round((rows - self.size) / 2), round((columns - self.size) / 2)


class ImageHeader(NamedTuple):
    """Height and width of the stored image in px, and its EXIF orientation (1 to 8)."""

    height: int
    width: int
    orientation: int = UPRIGHT

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width after rotation to the EXIF orientation."""
        size = (self.height, self.width)
        return size[::-1] if self.orientation in _TRANSPOSED else size


@contextmanager
def open_image(
    source: Path | bytes, name: str, remedy: str, *, kind: str = "image"
) -> Iterator[Image.Image]:
    """Open an image from a file or encoded bytes; decode it inside the block.

    Args:
        name, remedy, kind: name of the image, advice for the user, and `image` or `mask`, for
            messages.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is empty, too large, damaged, or not an image in `IMAGE_FORMATS`.
    """
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=IMAGE_FORMATS) as image:
            width, height = image.size
            if min(width, height) < 1 or width * height > MAX_PIXELS:
                raise BrokenFileError(
                    f"{name}: expected an image of 1 to {MAX_PIXELS:,} pixels, got "
                    f"{width} x {height}; reduce its size, or {remedy}"
                )
            yield image
    except BrokenFileError:
        raise
    except FileNotFoundError as error:
        raise MissingDataError(f"{name}: {kind} missing; {remedy}") from error
    except DECODING_ERRORS as error:
        raise BrokenFileError(
            f"{name}: cannot be decoded as an image ({_reason(source, error)}); {remedy}"
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to three channels of 8 bits.

    Raises:
        ValueError: for 32-bit values, whose white level is not defined.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() >= 0 and values.max() < 2**16:
            # Pillow would clip values above 255.
            image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its values have 32 bits (mode {image.mode}), save it with 8 or 16")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about a direct conversion to RGB
    return image if image.mode == "RGB" else image.convert("RGB")


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Rotate an image to its EXIF orientation, or a mask to that of its image."""
    return image if orientation == UPRIGHT else image.transpose(_TRANSPOSITIONS[orientation])


def orient_boxes(boxes: Tensor, header: ImageHeader) -> Tensor:
    """Rotate boxes (B, 4), left, top, right, bottom in stored pixels, like their image."""
    height, width = header.upright_size
    orientation = header.orientation
    left, top, right, bottom = boxes.unbind(1)
    if orientation in _TRANSPOSED:
        left, top, right, bottom = top, left, bottom, right
    if orientation in _FLIPPED_HORIZONTALLY:
        left, right = width - right, width - left
    if orientation in _FLIPPED_VERTICALLY:
        top, bottom = height - bottom, height - top
    return torch.stack([left, top, right, bottom], dim=1)


class ArrayImages:
    """Images in memory; they are resized at first use and copied to the training device once.

    Args:
        pixels: (N, 3, H, W) uint8.
        side_px: height and width after resizing; None means those of `pixels`.
    """

    def __init__(self, pixels: Tensor, side_px: int | None = None) -> None:
        self._pixels = pixels
        height, width = pixels.shape[2:]
        self.size = (side_px or height, side_px or width)
        self._on_device: tuple[torch.device, Tensor] | None = None

    @property
    def pixels(self) -> Tensor:
        """All images, (N, 3, H, W) uint8."""
        if tuple(self._pixels.shape[2:]) != self.size:
            from torchvision.transforms.v2 import functional as transforms  # seconds to import

            chunks = self._pixels.split(RESIZE_CHUNK)
            resized = [transforms.resize(part, [*self.size], antialias=True) for part in chunks]
            self._pixels = torch.cat(resized)
        return self._pixels

    def take(self, indices: Tensor) -> Tensor:
        """Return the images at `indices`, (n, 3, H, W) uint8."""
        return self.pixels[indices]

    def stream(self, steps: Iterable[Step], device: torch.device) -> Iterator[Tensor]:
        """Yield one (n, 3, H, W) uint8 batch on `device` per step, with resized crops applied."""
        # The requested device is stored: a tensor moved to `cuda` reports `cuda:0`.
        if self._on_device is None or self._on_device[0] != device:
            self._on_device = (device, self.pixels.to(device))
        pixels = self._on_device[1]
        for indices, draws in steps:
            images = pixels[indices.to(device)]
            yield images if draws is None else image_batches.resized_crop(images, draws)

    def subset(self, indices: Tensor) -> ArrayImages:
        """Return a source of the images at `indices`."""
        return ArrayImages(self.pixels[indices])


class FileImages:
    """Encoded images, decoded on demand; uncropped images are cached if all fit the cache."""

    def __init__(self, files: tuple[Path | bytes, ...], image_ids: tuple[str, ...], fit: Fit):
        self.files = files
        self.image_ids = image_ids
        self.fit = fit
        self.size = (fit.size, fit.size)
        fits_cache = len(files) * 3 * fit.size**2 <= CACHE_BYTES
        self._cache: dict[int, Tensor] | None = {} if fits_cache else None

    def take(self, indices: Tensor) -> Tensor:
        """Return images after the evaluation transform, (n, 3, H, W) uint8."""
        return next(self.stream([(indices, None)], torch.device("cpu")))

    def stream(self, steps: Iterable[Step], device: torch.device) -> Iterator[Tensor]:
        """Yield one (n, 3, S, S) uint8 batch on `device` per step, with resized crops applied.

        Worker threads decode a few batches ahead.
        """
        pending: deque[list[Future[Tensor]]] = deque()
        workers = ThreadPoolExecutor(num_workers())
        try:
            for step in steps:
                pending.append(self._submit(workers, step))
                if len(pending) > PREFETCHED_BATCHES:
                    yield torch.cat([job.result() for job in pending.popleft()]).to(device)
            while pending:
                yield torch.cat([job.result() for job in pending.popleft()]).to(device)
        finally:
            workers.shutdown(cancel_futures=True)

    def subset(self, indices: Tensor) -> FileImages:
        """Return a source of the images at `indices`."""
        positions = indices.tolist()
        return FileImages(
            tuple(self.files[i] for i in positions),
            tuple(self.image_ids[i] for i in positions),
            self.fit,
        )

    def header(self, index: int) -> ImageHeader:
        """Read size and orientation of a stored image; raises as `decode`."""
        with self._open(index) as image:
            return _read_header(image)

    def decode(self, index: int, crop_draws: Tensor | None = None) -> Tensor:
        """Decode one image and resize it, (3, S, S) uint8.

        Args:
            crop_draws: random numbers of a resized crop; None applies the evaluation transform.

        Raises:
            MissingDataError: if its file does not exist.
            BrokenFileError: if it is damaged or not an image.
        """
        fit = self.fit
        with self._open(index) as image:
            header = _read_header(image)
            height, width = header.upright_size
            if crop_draws is None and not fit.cut_bottom_px:
                # JPEG decodes directly to 1/2, 1/4 or 1/8, never below the requested size.
                target = ImageHeader(*fit.resized(height, width), header.orientation)
                # `upright_size` is its own inverse: it gives the target size in stored axes.
                image.draft(None, target.upright_size[::-1])
            image.load()
            is_turned = image.format == "TIFF"  # Pillow rotates TIFF images
            rgb = to_rgb(image if is_turned else turn_upright(image, header.orientation))
            if crop_draws is None:
                resized = fit.apply(rgb, height, width)
            else:
                box = image_batches.crop_box(crop_draws, height - fit.cut_bottom_px, width)
                top, left, box_height, box_width = box
                cropped = rgb.crop((left, top, left + box_width, top + box_height))
                resized = cropped.resize((fit.size, fit.size), Image.Resampling.BILINEAR)
            # The copy makes the array writable, as torch requires.
            return torch.from_numpy(np.array(resized)).permute(2, 0, 1)

    def _open(self, index: int) -> AbstractContextManager[Image.Image]:
        file = self.files[index]
        name = self.image_ids[index] if isinstance(file, bytes) else str(file)
        return open_image(file, name, "restore it from the official archive, or pass --skip-broken")

    def _submit(self, workers: ThreadPoolExecutor, step: Step) -> list[Future[Tensor]]:
        indices, draws = step
        parts = indices.split(FILES_PER_JOB)
        draws_of_parts = [None] * len(parts) if draws is None else draws.split(FILES_PER_JOB)
        pairs = zip(parts, draws_of_parts, strict=True)
        return [workers.submit(self._decode_part, *pair) for pair in pairs]

    def _decode_part(self, indices: Tensor, draws: Tensor | None) -> Tensor:
        images = torch.empty(len(indices), 3, *self.size, dtype=torch.uint8)
        for row, index in enumerate(indices.tolist()):
            if draws is not None:
                images[row] = self.decode(index, draws[row])
            elif self._cache is None:
                images[row] = self.decode(index)
            else:
                if index not in self._cache:
                    self._cache[index] = self.decode(index)
                images[row] = self._cache[index]
        return images


def num_workers() -> int:
    """Return the number of decoding threads: the CPU cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_header(image: Image.Image) -> ImageHeader:
    """Read size and orientation of the stored pixels without decoding them."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except DECODING_ERRORS:
        orientation = UPRIGHT  # damaged metadata does not affect the pixels
    if not isinstance(orientation, int) or orientation not in _TRANSPOSITIONS:
        orientation = UPRIGHT
    # Pillow reports the size of a TIFF image after rotation.
    if image.format == "TIFF" and orientation in _TRANSPOSED:
        return ImageHeader(image.width, image.height, orientation)
    return ImageHeader(image.height, image.width, orientation)


def _reason(source: Path | bytes, error: Exception) -> str:
    """Return the decoder's message without paths or memory addresses."""
    if not (source if isinstance(source, bytes) else source.stat().st_size):
        return "it is empty"
    if isinstance(error, UnidentifiedImageError):
        return "unknown image format"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it declares more than {MAX_PIXELS:,} pixels"
    return str(error) or type(error).__name__
