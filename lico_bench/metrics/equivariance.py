"""Does the map move with the image? The salience equivariance score.

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
DRAWS = 5  # area, aspect, vertical place, horizontal place, flip


def salience_equivariance(
    inputs: MetricInputs,
    *,
    num_crops: int = NUM_CROPS,
    min_area: float = 0.08,
    max_area: float = 1.0,
    max_aspect: float = 4 / 3,
    flips: float = 0.5,
) -> Tensor:
    """Mean cosine between the transformed map t(s(x)) and the map s(t(x)) of the transformed x.

    Args:
        num_crops: transforms t per image; each costs a map.
        min_area, max_area: share of the image that a crop keeps, drawn evenly.
        max_aspect: a crop's width over height lies between this and its inverse, drawn evenly on a
            logarithmic scale. The crop is enlarged to the size of the image, bilinearly.
        flips: share of the crops that are mirrored left to right.

    Returns:
        (N,) in [-1, 1], at least 0 for maps without negative values. A flat map, before or after,
        follows nothing and counts 0 for its crop.

    Raises:
        InvalidInputError: for rules that make no crop, or inputs that cannot explain anew.

    Source: Bartak et al., TMLR 10/2024.
    Differs: crops are drawn once per image, by its id, and are the same for every model and
    method, where the source draws afresh without a seed; a crop that would leave the image is cut
    at its border and not drawn again; the map of the image itself is the one that is scored; the
    cosine of two constant maps would be 1 and is counted 0.
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
        moved = _transform(maps[:, None], theta)[:, 0]
        anew = inputs.explain(_transform(images, theta).clamp(0, 1), inputs.targets).to(maps)
        total += torch.where(is_flat(maps) | is_flat(anew), 0, _cosine(moved, anew))
    return total / num_crops


def _draws(inputs: MetricInputs, row: int, num_crops: int) -> Tensor:
    """(num_crops, DRAWS) in [0, 1); the first crops do not depend on how many follow."""
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
    """(N, 2, 3) matrices from places in the result to places in the image, both in [-1, 1]."""
    height, width = size
    share, aspect, down, along, flip = draws.unbind(1)
    kept = (area[0] + (area[1] - area[0]) * share) * height * width
    ratio = torch.exp((2 * aspect - 1) * math.log(max_aspect))
    tall = (kept / ratio).sqrt().round().clamp(1, height)
    wide = (kept * ratio).sqrt().round().clamp(1, width)
    top, left = (down * (height - tall + 1)).floor(), (along * (width - wide + 1)).floor()
    theta = torch.zeros(len(draws), 2, 3)
    theta[:, 0, 0] = torch.where(flip < flips, -wide, wide) / width
    theta[:, 1, 1] = tall / height
    theta[:, 0, 2] = (2 * left + wide) / width - 1
    theta[:, 1, 2] = (2 * top + tall) / height - 1
    return theta


def _transform(images: Tensor, theta: Tensor) -> Tensor:
    """Images (N, C, H, W) sampled where `theta` says."""
    grid = functional.affine_grid(theta.to(images), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    """(N,), 0 where one of the maps (N, H, W) is zero everywhere."""
    product = _unit(first.flatten(1)) * _unit(second.flatten(1))
    return product.sum(1).clamp(-1, 1)


def _unit(rows: Tensor) -> Tensor:
    largest = rows.abs().amax(1, keepdim=True)
    rows = rows / torch.where(largest > 0, largest, 1)  # squares of faint maps would vanish
    length: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(length > 0, length, 1)


def _cost(_protocol: Protocol, *, num_crops: int = NUM_CROPS, **_rules: object) -> MetricCost:
    """A map for each crop."""
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
                "no map without negative values is far from another: independent noise in [0, 1] "
                "scores 0.8, a fixed centre 0.9; compare with these controls, not with 0"
            ),
        ),
        salience_equivariance,
        cost=_cost,
    ),
)
