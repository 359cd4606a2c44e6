"""Opening image files that strangers made: which kinds, how large, which way up.

- Kinds are told by content, not by name, and only those below are tried: Pillow hands others to
  programs outside (Ghostscript for PostScript).
- An image that declares more than `LARGEST_PX` pixels is refused before anything is decoded.
- Images are turned upright as their EXIF orientation says, as viewers show them, and regions,
  which count the pixels as stored, are turned with them.
- Alpha is dropped and colour profiles are not applied, as torchvision's readers do; of an image
  that moves, the first frame is taken; of 16 bits per channel the upper 8 are kept.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from lico_bench.errors import BrokenFileError

KINDS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "PPM", "TIFF", "GIF")
LARGEST_PX = 2**26  # 67 megapixels: 200 MB once decoded, more than any camera's usual image
# What Pillow's decoders raise on damaged files, and on files that would fill the memory.
DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError,
    ArithmeticError, MemoryError, RuntimeError, NotImplementedError, Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)  # fmt: skip
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
UPRIGHT = 1
_SIDEWAYS = (5, 6, 7, 8)  # stored with width and height exchanged
_FLIPPED_ACROSS, _FLIPPED_DOWN = (2, 3, 6, 7), (3, 4, 7, 8)  # after the exchange, if there is one


class ImageHeader(NamedTuple):
    """An image as its file holds it: height and width in px, and how it lies (EXIF, 1 to 8)."""

    height: int
    width: int
    orientation: int = UPRIGHT

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width once it lies upright."""
        size = (self.height, self.width)
        return size[::-1] if self.orientation in _SIDEWAYS else size


def open_image(source: Path | bytes, name: str, remedy: str) -> Image.Image:
    """The image in a file or in its bytes, not decoded yet.

    Args:
        name, remedy: for messages: which image, and what to do about it.

    Raises:
        FileNotFoundError: if there is no such file.
        BrokenFileError: if it is no image of a kind in `KINDS`, empty, or too large.
    """
    try:
        opened = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source,
                            formats=KINDS)  # fmt: skip
    except FileNotFoundError:
        raise
    except DECODING_ERRORS as error:
        raise broken_image(source, name, error, remedy) from error
    width, height = opened.size
    if min(width, height) < 1 or width * height > LARGEST_PX:
        opened.close()
        raise BrokenFileError(
            f"{name}: expected an image of 1 to {LARGEST_PX:,} pixels, got {width} x {height}; "
            f"make it smaller, or {remedy}"
        )
    return opened


def broken_image(source: Path | bytes, name: str, error: Exception, remedy: str) -> BrokenFileError:
    """The error for an image that a decoder gives up on."""
    return BrokenFileError(
        f"{name}: cannot be decoded as an image ({_reason(source, error)}); {remedy}"
    )


def as_rgb(image: Image.Image) -> Image.Image:
    """8 bits in each of three channels, whatever the file has.

    Raises:
        ValueError: for numbers of 32 bits, of which nobody says what is white.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() >= 0 and values.max() < 2**16:
            # Pillow would cut everything above 255 off.
            image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its values have 32 bits (mode {image.mode}), save it with 8 or 16")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the way that Pillow asks for
    return image if image.mode == "RGB" else image.convert("RGB")


def orientation_of(image: Image.Image) -> int:
    """How the stored image lies, 1 to 8 as EXIF counts; 1, upright, where nothing valid is told.

    Asked before anything is decoded.
    """
    try:
        message = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except DECODING_ERRORS:
        return UPRIGHT  # damaged notes beside an image do not spoil it
    return message if isinstance(message, int) and message in _TURNS else UPRIGHT


def stored_image(image: Image.Image) -> ImageHeader:
    """Size and orientation of the pixels as stored, before decoding."""
    orientation = orientation_of(image)
    # Pillow tells a TIFF's size as it will be once it lies upright.
    if image.format == "TIFF" and orientation in _SIDEWAYS:
        return ImageHeader(image.width, image.height, orientation)
    return ImageHeader(image.height, image.width, orientation)


def turn_image(image: Image.Image, orientation: int) -> Image.Image:
    """The decoded image upright."""
    # Pillow turns TIFF files itself while it decodes them.
    if image.format == "TIFF" or orientation == UPRIGHT:
        return image
    return image.transpose(_TURNS[orientation])


def turn_mask(mask: Tensor, orientation: int) -> Tensor:
    """(..., H, W) as the image that it marks is turned."""
    if orientation in _SIDEWAYS:
        mask = mask.transpose(-1, -2)
    if orientation in _FLIPPED_ACROSS:
        mask = mask.flip(-1)
    return mask.flip(-2) if orientation in _FLIPPED_DOWN else mask


def turn_boxes(boxes: Tensor, stored: ImageHeader) -> Tensor:
    """(B, 4) left, top, right, bottom on a stored image, as the image is turned."""
    height, width = stored.upright
    orientation = stored.orientation
    left, top, right, bottom = boxes.unbind(1)
    if orientation in _SIDEWAYS:
        left, top, right, bottom = top, left, bottom, right
    if orientation in _FLIPPED_ACROSS:
        left, right = width - right, width - left
    if orientation in _FLIPPED_DOWN:
        top, bottom = height - bottom, height - top
    return torch.stack([left, top, right, bottom], dim=1)


def _reason(source: Path | bytes, error: Exception) -> str:
    """What the decoder says, without the path or memory address it likes to add."""
    if not (source if isinstance(source, bytes) else source.stat().st_size):
        return "it is empty"
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a known kind"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it declares more than {LARGEST_PX:,} pixels"
    return str(error) or type(error).__name__
