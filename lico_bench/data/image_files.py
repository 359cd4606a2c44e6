"""Reading untrusted image files: accepted formats, size limit, orientation and colour mode.

- The format is detected from the content, not the file name, and restricted to `IMAGE_FORMATS`:
  Pillow passes some other formats to external programs (PostScript to Ghostscript).
- An image that declares more than `MAX_PIXELS` pixels is rejected before decoding.
- Images are rotated to their EXIF orientation. Regions are given in stored pixels and rotated
  in the same way.
- As in torchvision, alpha is dropped and colour profiles are not applied. The first frame of an
  animation is read. Of 16 bits per channel the upper 8 are kept.
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

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "PPM", "TIFF", "GIF")
MAX_PIXELS = 2**26  # 67 megapixels, 200 MB decoded; more than usual camera images
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


def open_image(source: Path | bytes, name: str, remedy: str) -> Image.Image:
    """Open an image from a file or encoded bytes, without decoding it.

    Args:
        name, remedy: name of the image and advice for the user, for messages.

    Raises:
        FileNotFoundError: if the file does not exist.
        BrokenFileError: if it is empty, too large, or not an image in `IMAGE_FORMATS`.
    """
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        image = Image.open(file, formats=IMAGE_FORMATS)
    except FileNotFoundError:
        raise
    except DECODING_ERRORS as error:
        raise broken_image_error(source, name, error, remedy) from error
    width, height = image.size
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        image.close()
        raise BrokenFileError(
            f"{name}: expected an image of 1 to {MAX_PIXELS:,} pixels, got {width} x {height}; "
            f"reduce its size, or {remedy}"
        )
    return image


def broken_image_error(
    source: Path | bytes, name: str, error: Exception, remedy: str
) -> BrokenFileError:
    """Build the error for an image that cannot be decoded."""
    return BrokenFileError(
        f"{name}: cannot be decoded as an image ({_reason(source, error)}); {remedy}"
    )


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


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) if it is absent or invalid.

    Call it before the image is decoded.
    """
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except DECODING_ERRORS:
        return UPRIGHT  # damaged metadata does not affect the pixels
    return value if isinstance(value, int) and value in _TRANSPOSITIONS else UPRIGHT


def read_header(image: Image.Image) -> ImageHeader:
    """Read size and orientation of the stored pixels without decoding them."""
    orientation = read_orientation(image)
    # Pillow reports the size of a TIFF image after rotation.
    if image.format == "TIFF" and orientation in _TRANSPOSED:
        return ImageHeader(image.width, image.height, orientation)
    return ImageHeader(image.height, image.width, orientation)


def orient_image(image: Image.Image, orientation: int) -> Image.Image:
    """Rotate a decoded image to its EXIF orientation."""
    # Pillow rotates TIFF images while decoding.
    if image.format == "TIFF" or orientation == UPRIGHT:
        return image
    return image.transpose(_TRANSPOSITIONS[orientation])


def orient_mask(mask: Tensor, orientation: int) -> Tensor:
    """Rotate a mask (..., H, W) like its image."""
    if orientation in _TRANSPOSED:
        mask = mask.transpose(-1, -2)
    if orientation in _FLIPPED_HORIZONTALLY:
        mask = mask.flip(-1)
    return mask.flip(-2) if orientation in _FLIPPED_VERTICALLY else mask


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


def _reason(source: Path | bytes, error: Exception) -> str:
    """Return the decoder's message without paths or memory addresses."""
    if not (source if isinstance(source, bytes) else source.stat().st_size):
        return "it is empty"
    if isinstance(error, UnidentifiedImageError):
        return "unknown image format"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it declares more than {MAX_PIXELS:,} pixels"
    return str(error) or type(error).__name__
