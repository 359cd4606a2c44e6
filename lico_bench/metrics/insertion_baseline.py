"""The start image of insertion: the blurred image, by the rules of a protocol."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.data.filters import filtered, gaussian
from lico_bench.errors import InvalidInputError
from lico_bench.records import Protocol


def insertion_baseline(images: Tensor, rules: Protocol, *, fill: Tensor) -> Tensor:
    """Return the blurred images (N, 3, H, W) that insertion starts from.

    Args:
        images: (N, 3, H, W) in [0, 1].
        fill: (1, 3, 1, 1), the padding colour if the protocol pads with the fill colour.

    Raises:
        InvalidInputError: if the image is too small for reflection padding, or the protocol defines
            no blur.
    """
    kernel = _kernel(images, rules).to(images)
    radius = len(kernel) // 2
    shorter = min(images.shape[2:])
    if rules.blur_border == "reflect":
        if radius >= shorter:
            raise InvalidInputError(
                f"protocol {rules.name}: a blur of {len(kernel)} px needs images of more than "
                f"{radius} px, got {shorter}; use larger images or another protocol"
            )
        blurred = filtered(F.pad(images, (radius,) * 4, mode="reflect"), kernel)
    else:
        # Zero padding after normalisation equals padding with the fill colour before it.
        blurred = filtered(F.pad(images - fill, (radius,) * 4), kernel) + fill
    return blurred.clamp(0, 1)


def near_box(sigma_px: float, side_px: int) -> Tensor:
    """Nearly flat kernel (side,): a Gaussian with its tails reflected into `side_px` pixels.

    For 11 px and sigma 5 the largest weight is 1.07 times the smallest, 1.14 in two dimensions.

    Source: the kernel of eclique/RISE at d91ea00, made with SciPy's default border.
    """
    point = torch.zeros(side_px, dtype=torch.float64)
    point[side_px // 2] = 1
    from scipy import ndimage  # the import takes a second

    return torch.from_numpy(ndimage.gaussian_filter1d(point.numpy(), sigma_px)).float()


def _kernel(images: Tensor, rules: Protocol) -> Tensor:
    if rules.blur_sigma_px is not None and rules.blur_kernel_px is not None:
        if rules.blur_kernel == "near_box":
            return near_box(rules.blur_sigma_px, rules.blur_kernel_px)
        return gaussian(rules.blur_sigma_px, rules.blur_kernel_px // 2)
    if rules.blur_sigma_frac is None or rules.blur_radius_sigmas is None:
        raise InvalidInputError(
            f"protocol {rules.name}: it defines no blur for insertion; set blur_sigma_frac and "
            "blur_radius_sigmas, or blur_sigma_px and blur_kernel_px"
        )
    shorter = min(images.shape[2:])
    sigma = rules.blur_sigma_frac * shorter
    return gaussian(sigma, min(math.ceil(rules.blur_radius_sigmas * sigma), shorter - 1))
