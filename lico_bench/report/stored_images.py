"""Decode the images and maps of a run's gallery; the files are untrusted input."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lico_bench.errors import BrokenFileError

MAX_PIXELS = 2**24  # 4096 x 4096, far more than any model input


def open_stored(png: Any, what: str) -> Image.Image:
    """Decode a PNG into an 8-bit RGB image.

    Args:
        what: name of the image in error messages.

    Raises:
        BrokenFileError: if `png` is not a PNG, is damaged, or has more than `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"{opened.width} x {opened.height} pixels")
            return opened.convert("RGB")
    # Pillow raises these on damaged files, Python on values that are not bytes.
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, Image.DecompressionBombError,
            Image.DecompressionBombWarning) as error:  # fmt: skip
        raise BrokenFileError(
            f"gallery, {what}: expected a PNG image ({error}); score the cell again"
        ) from error


def stored_map(row: dict[str, Any]) -> NDArray[np.float64]:
    """Return the map of a gallery row, (H, W) float64.

    Raises:
        BrokenFileError: if the number of values is not height times width, or a value is not
            finite.
    """
    try:
        values = np.asarray(row["map"], dtype=float).reshape(int(row["height"]), int(row["width"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise BrokenFileError(
            f"gallery, map of '{row['image_id']}' by {row['method']}: expected height times width "
            f"values ({error}); score the cell again"
        ) from error
    if not values.size or not np.isfinite(values).all():
        raise BrokenFileError(
            f"gallery, map of '{row['image_id']}' by {row['method']}: expected finite values, got "
            "none, NaN or infinity; score the cell again"
        )
    return values
