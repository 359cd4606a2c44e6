"""Salience equivariance score: does the map follow transformations of the image?

Source: Bartak et al., TMLR 10/2024 (SES).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from lico_bench.checks import check_count
from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, Metric, MetricCost, MetricInputs
from lico_bench.metrics.map_facts import is_flat
from lico_bench.records import MetricSpec, Protocol
from lico_bench.runtime import make_generator

NUM_CROPS = 4
DRAWS = 5  # area, aspect, vertical position, horizontal position, flip


def salience_equivariance(
    inputs: MetricInputs,
    *,
    num_crops: int = NUM_CROPS,
    min_area: float = 0.08,
    max_area: float = 1.0,
    max_aspect: float = 4 / 3,
    flips: float = 0.5,
) -> Tensor:
    """Mean cosine between the transformed map t(s(x)) and the map s(t(x)) of the transformed image.

    Args:
        num_crops: transforms t per image; each costs a map.
        min_area, max_area: range of the crop's share of the image area, drawn uniformly.
        max_aspect: the ratio width / height of a crop is drawn log-uniformly between this and its
            inverse. The crop is resized bilinearly to the size of the image.
        flips: probability that a crop is mirrored left to right.

    Returns:
        (N,) in [-1, 1], at least 0 for maps without negative values. A crop scores 0 if the map of
        the image or of the crop is flat.

    Raises:
        InvalidInputError: for rules out of range, or inputs without an explainer.

    Source: Bartak et al., TMLR 10/2024.
    Differs: crops are seeded by the image id and equal for all models and methods, while the source
    draws without a seed; a crop that would leave the image is clipped at the border instead of
    redrawn; the map of the image is the scored one; two constant maps score 0, not 1.
    """
    check_count("num_crops", num_crops)
    if not (0 < min_area <= max_area <= 1 and max_aspect >= 1 and 0 <= flips <= 1):
        raise InvalidInputError(
            "ses: expected 0 < min_area <= max_area <= 1, max_aspect >= 1 and flips in [0, 1], "
            f"got {min_area}, {max_area}, {max_aspect} and {flips}"
        )
    images, maps = inputs.images, inputs.maps
    draws = torch.stack([_draws(inputs, row, num_crops) for row in range(len(images))])
    total = torch.zeros(len(images), device=maps.device)
    for crop in draws.unbind(1):
        theta = _affine(
            crop, images.shape[2:], area=(min_area, max_area), max_aspect=max_aspect, flips=flips
        )
        transformed = _transform(maps[:, None], theta)[:, 0]
        new_maps = inputs.explain(_transform(images, theta).clamp(0, 1), inputs.targets).to(maps)
        total += torch.where(is_flat(maps) | is_flat(new_maps), 0, _cosine(transformed, new_maps))
    return total / num_crops


def _draws(inputs: MetricInputs, row: int, num_crops: int) -> Tensor:
    """Uniform draws (num_crops, DRAWS) in [0, 1); the first ones do not depend on `num_crops`."""
    rng = make_generator(inputs.seed, f"ses:{inputs.key(row)}")
    return torch.rand(num_crops, DRAWS, generator=rng)


def _affine(
    draws: Tensor,
    size: torch.Size,
    *,
    area: tuple[float, float],
    max_aspect: float,
    flips: float,
) -> Tensor:
    """Matrices (N, 2, 3) from output to input coordinates, both in [-1, 1]."""
    height, width = size
    share, aspect, down, along, flip = draws.unbind(1)
    crop_px = (area[0] + (area[1] - area[0]) * share) * height * width
    ratio = torch.exp((2 * aspect - 1) * math.log(max_aspect))
    crop_height = (crop_px / ratio).sqrt().round().clamp(1, height)
    crop_width = (crop_px * ratio).sqrt().round().clamp(1, width)
    top = (down * (height - crop_height + 1)).floor()
    left = (along * (width - crop_width + 1)).floor()
    theta = torch.zeros(len(draws), 2, 3)
    theta[:, 0, 0] = torch.where(flip < flips, -crop_width, crop_width) / width
    theta[:, 1, 1] = crop_height / height
    theta[:, 0, 2] = (2 * left + crop_width) / width - 1
    theta[:, 1, 2] = (2 * top + crop_height) / height - 1
    return theta


def _transform(images: Tensor, theta: Tensor) -> Tensor:
    """Resample images (N, C, H, W) with the affine matrices `theta`."""
    grid = functional.affine_grid(theta.to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    """Cosine (N,) of maps (N, H, W); 0 if one of them is all zeros."""
    product = _unit_vectors(first.flatten(1)) * _unit_vectors(second.flatten(1))
    return product.sum(1).clamp(-1, 1)


def _unit_vectors(rows: Tensor) -> Tensor:
    largest = rows.abs().amax(1, keepdim=True)
    rows = rows / torch.where(largest > 0, largest, 1)  # avoids underflow for faint maps
    length: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, 1)


def _cost(_protocol: Protocol, *, num_crops: int = NUM_CROPS, **_rules: object) -> MetricCost:
    """One map per crop."""
    return MetricCost(explains=num_crops)


METRICS.add(
    "ses",
    Metric(
        MetricSpec(
            name="ses",
            title="Salience equivariance",
            higher_is_better=True,
            bounds=(-1.0, 1.0),
            unit="cosine",
            source="Bartak et al., TMLR 10/2024",
            needs=("maps", "explainer"),
            category="robustness",
            cost="explains",
            pitfalls=(
                "maps without negative values are always similar: independent noise in [0, 1] "
                "scores 0.8 and a fixed centre 0.9; compare with these controls, not with 0"
            ),
        ),
        salience_equivariance,
        cost=_cost,
    ),
)
