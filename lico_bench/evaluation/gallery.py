"""An image and its maps as they are kept for looking at: small, and no longer what is scored."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

MAP_SIDE_PX = 56  # the longest side kept of a map
IMAGE_SIDE_PX = 128  # of an image


def small_map(one: Tensor) -> dict[str, Any]:
    """The columns of a map: its size, its range, and its values in [0, 1] as float16.

    Args:
        one: (H, W) finite values of any range.

    Returns:
        `height`, `width`; `lowest`, `highest` of the kept values; `map`, (height * width,), which
        runs from 0 at the lowest to 1 at the highest. Rescaled because float16 ends at 6e-8 and
        65504, and gradients do not. A flat map is 0 throughout.
    """
    values = _shrunk(one[None].float(), MAP_SIDE_PX)[0].cpu().double().numpy()
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    height, width = values.shape
    return {
        "height": height,
        "width": width,
        "lowest": low,
        "highest": high,
        "map": scaled.ravel().astype(np.float16),
    }


def small_png(image: Tensor) -> bytes:
    """PNG bytes of (3, H, W) or (H, W) values in [0, 1], made smaller where it is large."""
    channels = image if image.ndim == 3 else image[None]
    kept = _shrunk(channels.float(), IMAGE_SIDE_PX).cpu().clamp(0, 1)
    content = (kept * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    stream = io.BytesIO()
    Image.fromarray(content if image.ndim == 3 else content[..., 0]).save(stream, format="PNG")
    return stream.getvalue()


def _shrunk(channels: Tensor, longest_px: int) -> Tensor:
    """(C, H, W) by area averaging to a longest side of at most `longest_px`."""
    height, width = channels.shape[1:]
    share = longest_px / max(height, width)
    if share >= 1:
        return channels
    size = (max(1, round(share * height)), max(1, round(share * width)))
    return interpolate(channels[None], size=size, mode="area")[0]
