"""The images and maps of a run's gallery, opened as what a stranger may have written."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lico_bench.errors import BrokenFileError

LARGEST_PX = 2**24  # 4096 x 4096, far more than models see


def open_stored(png: Any, what: str) -> Image.Image:
    """The decoded image in `png`, three channels of 8 bits.

    Args:
        what: for messages.

    Raises:
        BrokenFileError: if it is no PNG, damaged, or larger than `LARGEST_PX`.
    """
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as opened:
            if opened.width * opened.height > LARGEST_PX:
                raise ValueError(f"{opened.width} x {opened.height} pixels")
            return opened.convert("RGB")
    # What Pillow raises on damaged files, and Python on what is no file at all.
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, Image.DecompressionBombError,
            Image.DecompressionBombWarning) as error:  # fmt: skip
        raise BrokenFileError(
            f"gallery, {what}: expected an image as PNG, got something else ({error}); score the "
            "cell again"
        ) from error


def stored_map(row: dict[str, Any]) -> NDArray[np.float64]:
    """(H, W), the map of a gallery row.

    Raises:
        BrokenFileError: if it has not as many values as its height and width say, or not finite
            ones.
    """
    try:
        values = np.asarray(row["map"], dtype=float).reshape(int(row["height"]), int(row["width"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise BrokenFileError(
            f"gallery, map of '{row['image_id']}' by {row['method']}: expected height times width "
            f"numbers ({error}); score the cell again"
        ) from error
    if not values.size or not np.isfinite(values).all():
        raise BrokenFileError(
            f"gallery, map of '{row['image_id']}' by {row['method']}: expected finite numbers, got "
            "none, or NaN or infinity; score the cell again"
        )
    return values
