"""Operations on batches of images: random flips and crops, Gaussian blur and separable filters.

Flips and crops are computed from random numbers drawn in advance. Every augmentation draws the
same number of random numbers per batch, so the generator state does not depend on it. Two arms, or
two worker counts, therefore see identical images.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DRAWS = 5  # flip, vertical position, horizontal position, area, aspect ratio
AREA = (0.08, 1.0)  # share of the image area that a resized crop keeps
ASPECT = (3 / 4, 4 / 3)  # width over height of a resized crop


def draw(num_images: int, generator: torch.Generator) -> Tensor:
    """Draw the random numbers of one batch, (N, 5) uniform in [0, 1)."""
    return torch.rand(num_images, DRAWS, generator=generator)


def flip(images: Tensor, draws: Tensor) -> Tensor:
    """Flip each image of (N, 3, H, W) horizontally if its first draw is below one half."""
    mirrored = (draws[:, 0] < 0.5).to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def crop(images: Tensor, draws: Tensor, padding_px: int) -> Tensor:
    """Shift `images` (N, 3, H, W) by up to `padding_px` in each direction, padding with zeros."""
    if padding_px == 0:
        return images
    num_images, _, height, width = images.shape
    padded = F.pad(images, (padding_px,) * 4)
    corner = (draws[:, 1:3] * (2 * padding_px + 1)).long().to(images.device)
    rows = corner[:, :1] + torch.arange(height, device=images.device)
    columns = corner[:, 1:] + torch.arange(width, device=images.device)
    index = torch.arange(num_images, device=images.device)[:, None, None]
    # Channels are last while indexing, so one gather moves all three.
    shifted = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 1, 2).contiguous()


def crop_box(draws: Tensor, height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, left, height and width in px of a random resized crop, from one row of draws.

    Source: the crop of the Inception networks (Szegedy et al., CVPR 2015, section 6).
    Differs: a crop larger than the image is clipped at the border instead of drawn again, so
    the number of draws is fixed.
    """
    y, x, area, aspect = (float(v) for v in draws[1:])
    area_px = height * width * (AREA[0] + (AREA[1] - AREA[0]) * area)
    ratio = math.exp(math.log(ASPECT[0]) + math.log(ASPECT[1] / ASPECT[0]) * aspect)
    box_width = min(width, max(1, round(math.sqrt(area_px * ratio))))
    box_height = min(height, max(1, round(math.sqrt(area_px / ratio))))
    top = int(y * (height - box_height + 1))
    left = int(x * (width - box_width + 1))
    return top, left, box_height, box_width


def resized_crop(images: Tensor, draws: Tensor) -> Tensor:
    """Apply random resized crops to images in memory, (N, 3, H, W) uint8 to the same shape."""
    height, width = images.shape[-2:]
    boxes = torch.tensor([crop_box(row, height, width) for row in draws], dtype=torch.float32)
    top, left, box_height, box_width = boxes.unbind(1)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = box_width / width, box_height / height
    theta[:, 0, 2] = (2 * left + box_width) / width - 1
    theta[:, 1, 2] = (2 * top + box_height) / height - 1
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    # Crops are only enlarged, so bilinear sampling does not alias.
    sampled = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return sampled.round().clamp(0, 255).to(torch.uint8)


def blur(images: Tensor, *, sigma_px: float, radius_px: int) -> Tensor:
    """Blur images with a Gaussian truncated at `radius_px`; borders are reflected.

    Args:
        images: (N, 3, H, W).

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    kernel = gaussian(sigma_px, radius_px).to(images)
    return filtered(F.pad(images, (radius_px,) * 4, mode="reflect"), kernel).clamp(0, 1)


def gaussian(sigma_px: float, radius_px: int) -> Tensor:
    """Return the weights of a Gaussian truncated at r = `radius_px`, (2 r + 1,), summing to 1."""
    offsets = torch.arange(-radius_px, radius_px + 1, dtype=torch.float32)
    weights = torch.exp(-(offsets**2) / (2 * sigma_px**2))
    return weights / weights.sum()


def filtered(padded: Tensor, kernel: Tensor) -> Tensor:
    """Filter padded images along both axes.

    Args:
        padded: (N, 3, H + 2 r, W + 2 r).
        kernel: (2 r + 1,).

    Returns:
        (N, 3, H, W).
    """
    planes = padded.reshape(-1, 1, *padded.shape[2:])
    rows = F.conv2d(planes, kernel.view(1, 1, -1, 1))
    planes = F.conv2d(rows, kernel.view(1, 1, 1, -1))
    return planes.view(*padded.shape[:2], *planes.shape[2:])
