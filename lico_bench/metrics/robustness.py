"""Change of a map when the image changes: small noise, and crops and flips.

Sensitivity: with images x' near x and maps e, three metrics use the relative change
‖e(x) - e(x')‖ / ‖e(x)‖. The images x' are drawn and explained once for all three. Quantus is not
used: it draws from NumPy's global state, leaves [0, 1], divides maps by the maximum of their batch,
fails for a batch of flat maps, divides by zero for a single flat map, and explains again for each
metric. The values agree where none of this matters.

Equivariance (SES): the map of a transformed image should be the transformed map.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from lico_bench.checks import check_count, check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.metrics.metric import MetricCost, MetricInputs, add_metric
from lico_bench.metrics.value_ranks import is_flat
from lico_bench.runtime import make_generator

NUM_SAMPLES = 5
RADIUS = 0.05
NUM_CROPS = 4
DRAWS = 5  # area, aspect, vertical position, horizontal position, flip


def _neighbours_name(num_samples: int, radius: float) -> str:
    return f"neighbours:{num_samples}:{radius}"


_add = partial(
    add_metric,
    higher_is_better=False,
    bounds=(0.0, None),
    needs=("maps", "explainer"),
    category="robustness",
    cost="explains",
    cost_of=lambda _protocol, *, num_samples=NUM_SAMPLES, radius=RADIUS: MetricCost(
        _neighbours_name(num_samples, radius), explains=num_samples
    ),
    pitfalls="a map that ignores the image scores a perfect 0; five samples underestimate the true "
    "maximum, so compare only equal numbers of samples",
)


@_add(
    "max_sensitivity",
    title="Max-sensitivity",
    unit="relative change",
    source="Yeh et al., NeurIPS 2019",
)
def max_sensitivity(
    inputs: MetricInputs, *, num_samples: int = NUM_SAMPLES, radius: float = RADIUS
) -> Tensor:
    """Maximum relative change of the map over nearby images, (N,) >= 0.

    Args:
        num_samples: nearby images per image; each costs a map.
        radius: maximum change of each value, drawn uniformly; images are clamped to [0, 1].

    Source: Yeh et al., NeurIPS 2019, eq. 4, relative to ‖e(x)‖ as in Quantus.
    Differs: the change from a zero map to a non-zero map is 1, equal to the change from a non-zero
    map to a zero map.
    """
    change, _ = _neighbour_changes(inputs, num_samples, radius)
    return change.amax(1)


@_add(
    "avg_sensitivity",
    title="Avg-sensitivity",
    unit="relative change",
    source="Yeh et al., NeurIPS 2019",
)
def avg_sensitivity(
    inputs: MetricInputs, *, num_samples: int = NUM_SAMPLES, radius: float = RADIUS
) -> Tensor:
    """Mean relative change of the map over nearby images, (N,) >= 0; see `max_sensitivity`."""
    change, _ = _neighbour_changes(inputs, num_samples, radius)
    return change.mean(1)


@_add(
    "local_lipschitz",
    title="Local Lipschitz estimate",
    unit="relative change per unit of distance",
    source="Alvarez-Melis & Jaakkola, 2018",
)
def local_lipschitz(
    inputs: MetricInputs, *, num_samples: int = NUM_SAMPLES, radius: float = RADIUS
) -> Tensor:
    """Maximum relative change of the map per Euclidean distance of the images, (N,) >= 0.

    max ‖e(x) - e(x')‖ / (‖e(x)‖ ‖x - x'‖), images in [0, 1]; see `max_sensitivity`.

    Source: Alvarez-Melis & Jaakkola, 2018 (arXiv 1806.08049).
    Differs: maps are in units of ‖e(x)‖, because a map's scale depends on the logits and not on its
    stability; Quantus uses units of the batch's maximum, which differ between batches.
    """
    change, distance = _neighbour_changes(inputs, num_samples, radius)
    return torch.where(distance > 0, change / distance, 0).amax(1)


def _neighbour_changes(
    inputs: MetricInputs, num_samples: int, radius: float
) -> tuple[Tensor, Tensor]:
    """Relative change of the maps and distance of the images, (N, num_samples) each."""
    check_count("num_samples", num_samples)
    check_positive("radius", radius)
    images, maps = inputs.images, inputs.maps.flatten(1)

    def compute() -> tuple[Tensor, Tensor]:
        keys = [inputs.key(row) for row in range(len(images))]
        generators = [make_generator(inputs.seed, f"neighbours:{key}") for key in keys]
        changes, distances = [], []
        for _ in range(num_samples):
            noise = torch.stack([torch.rand(images.shape[1:], generator=rng) for rng in generators])
            noise = (2 * noise - 1) * radius
            nearby = (images + noise.to(images)).clamp(0, 1)
            nearby_maps = inputs.explain(nearby, inputs.targets).to(maps).flatten(1)
            changes.append(_relative_change(maps, nearby_maps))
            distances.append((nearby - images).flatten(1).norm(dim=1))
        return torch.stack(changes, 1), torch.stack(distances, 1)

    return inputs.shared.once(_neighbours_name(num_samples, radius), compute)


def _relative_change(maps: Tensor, nearby_maps: Tensor) -> Tensor:
    largest = torch.maximum(maps.abs().amax(1), nearby_maps.abs().amax(1))
    scale = torch.where(largest > 0, largest, 1)[:, None]  # avoids underflow for faint maps
    maps, nearby_maps = maps / scale, nearby_maps / scale
    norm = maps.norm(dim=1)
    norm = torch.where(norm > 0, norm, nearby_maps.norm(dim=1))
    change: Tensor = (maps - nearby_maps).norm(dim=1)
    return change / torch.where(norm > 0, norm, 1)


@add_metric(
    "ses",
    title="Salience equivariance",
    higher_is_better=True,
    bounds=(-1.0, 1.0),
    unit="cosine",
    source="Bartak et al., TMLR 10/2024",
    needs=("maps", "explainer"),
    category="robustness",
    cost="explains",
    cost_of=lambda _protocol, *, num_crops=NUM_CROPS, **_: MetricCost(explains=num_crops),
    pitfalls="maps without negative values are always similar: independent noise in [0, 1] "
    "scores 0.8 and a fixed centre 0.9; compare with these controls, not with 0",
)
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

    Source: Bartak et al., TMLR 10/2024 (SES).
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
