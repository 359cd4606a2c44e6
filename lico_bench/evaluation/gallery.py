"""Small copies of images and maps for display; metrics use the originals."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

MAP_SIDE_PX = 56  # longest side of a stored map
IMAGE_SIDE_PX = 128  # longest side of a stored image


def small_map(saliency_map: Tensor) -> dict[str, object]:
    """Return the gallery columns of a map: its size, its range and its rescaled values.

    Args:
        saliency_map: (H, W) finite values of any range.

    Returns:
        `height`, `width`; `lowest` and `highest` value of the downscaled map; `map`,
        (height * width,) float16, rescaled to [0, 1] because gradients can exceed the range of
        float16 (6e-8 to 65504). A flat map is all zeros.
    """
    values = _downscaled(saliency_map[None].float(), MAP_SIDE_PX)[0].cpu().double().numpy()
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
    """PNG bytes of (3, H, W) or (H, W) values in [0, 1]; large images are downscaled."""
    channels = image if image.ndim == 3 else image[None]
    small = _downscaled(channels.float(), IMAGE_SIDE_PX).cpu().clamp(0, 1)
    content = (small * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    stream = io.BytesIO()
    Image.fromarray(content if image.ndim == 3 else content[..., 0]).save(stream, format="PNG")
    return stream.getvalue()


def _downscaled(channels: Tensor, longest_px: int) -> Tensor:
    """Downscale (C, H, W) by area averaging to a longest side of at most `longest_px`."""
    height, width = channels.shape[1:]
    scale = longest_px / max(height, width)
    if scale >= 1:
        return channels
    size = (max(1, round(scale * height)), max(1, round(scale * width)))
    return interpolate(channels[None], size=size, mode="area")[0]
