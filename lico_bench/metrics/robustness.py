"""Change of a map under small changes of the image: maximum, mean, and per unit of distance.

With images x' near x and maps e, all three use the relative change ‖e(x) - e(x')‖ / ‖e(x)‖. The
images x' are drawn and explained once and shared by the three metrics.

Quantus is not used: it draws from NumPy's global state, leaves [0, 1], divides maps by the maximum
of their batch, fails for a batch of flat maps, divides by zero for a single flat map, and explains
again for each metric. The values agree where none of this matters.
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor

from lico_bench.checks import check_count, check_positive
from lico_bench.metrics import METRICS, Metric, MetricCost, MetricInputs
from lico_bench.records import MetricSpec, Protocol
from lico_bench.runtime import make_generator


def max_sensitivity(inputs: MetricInputs, *, num_samples: int = 5, radius: float = 0.05) -> Tensor:
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


def avg_sensitivity(inputs: MetricInputs, *, num_samples: int = 5, radius: float = 0.05) -> Tensor:
    """Mean relative change of the map over nearby images, (N,) >= 0; see `max_sensitivity`."""
    change, _ = _neighbour_changes(inputs, num_samples, radius)
    return change.mean(1)


def local_lipschitz(inputs: MetricInputs, *, num_samples: int = 5, radius: float = 0.05) -> Tensor:
    """Maximum relative change of the map per Euclidean distance of the images, (N,) >= 0.

    max ‖e(x) - e(x')‖ / (‖e(x)‖ ‖x - x'‖), images in [0, 1]; see `max_sensitivity`.

    Source: Alvarez-Melis & Jaakkola, 2018 (arXiv 1806.08049).
    Differs: maps are in units of ‖e(x)‖, because a map's scale depends on the logits and not on its
    stability; Quantus uses units of the batch's maximum, which differ between batches.
    """
    change, distance = _neighbour_changes(inputs, num_samples, radius)
    return torch.where(distance > 0, change / distance, 0).amax(1)


def neighbours_cost(
    _protocol: Protocol, *, num_samples: int = 5, radius: float = 0.05
) -> MetricCost:
    """One map per sample, shared by the three metrics."""
    return MetricCost(f"neighbours:{num_samples}:{radius}", explains=num_samples)


def _neighbour_changes(
    inputs: MetricInputs, num_samples: int, radius: float
) -> tuple[Tensor, Tensor]:
    """Relative change of the maps and distance of the images, (N, num_samples) each."""
    check_count("num_samples", num_samples)
    check_positive("radius", radius)
    key = neighbours_cost(inputs.protocol, num_samples=num_samples, radius=radius).shared
    if key not in inputs.shared:
        inputs.shared[key] = _compute_neighbour_changes(inputs, num_samples, radius)
    return cast("tuple[Tensor, Tensor]", inputs.shared[key])


def _compute_neighbour_changes(
    inputs: MetricInputs, num_samples: int, radius: float
) -> tuple[Tensor, Tensor]:
    images, maps = inputs.images, inputs.maps.flatten(1)
    generators = [
        make_generator(inputs.seed, f"neighbours:{inputs.key(row)}") for row in range(len(images))
    ]
    changes, distances = [], []
    for _ in range(num_samples):
        noise = torch.stack([torch.rand(images.shape[1:], generator=rng) for rng in generators])
        noise = (2 * noise - 1) * radius
        nearby = (images + noise.to(images)).clamp(0, 1)
        nearby_maps = inputs.explain(nearby, inputs.targets).to(maps).flatten(1)
        changes.append(_relative_change(maps, nearby_maps))
        distances.append((nearby - images).flatten(1).norm(dim=1))
    return torch.stack(changes, 1), torch.stack(distances, 1)


def _relative_change(maps: Tensor, nearby_maps: Tensor) -> Tensor:
    largest = torch.maximum(maps.abs().amax(1), nearby_maps.abs().amax(1))
    scale = torch.where(largest > 0, largest, 1)[:, None]  # avoids underflow for faint maps
    maps, nearby_maps = maps / scale, nearby_maps / scale
    norm = maps.norm(dim=1)
    norm = torch.where(norm > 0, norm, nearby_maps.norm(dim=1))
    change: Tensor = (maps - nearby_maps).norm(dim=1)
    return change / torch.where(norm > 0, norm, 1)


_spec = partial(
    MetricSpec,
    higher_is_better=False,
    bounds=(0.0, None),
    needs=("maps", "explainer"),
    category="robustness",
    cost="explains",
)
PITFALLS = (
    "a map that ignores the image scores a perfect 0; five samples underestimate the true maximum, "
    "so compare only equal numbers of samples"
)
for _name, _title, _compute, _unit, _source in (
    (
        "max_sensitivity", "Max-sensitivity", max_sensitivity, "relative change",
        "Yeh et al., NeurIPS 2019",
    ),
    (
        "avg_sensitivity", "Avg-sensitivity", avg_sensitivity, "relative change",
        "Yeh et al., NeurIPS 2019",
    ),
    (
        "local_lipschitz", "Local Lipschitz estimate", local_lipschitz,
        "relative change per unit of distance", "Alvarez-Melis & Jaakkola, 2018",
    ),
):  # fmt: skip
    METRICS.add(
        _name,
        Metric(
            _spec(name=_name, title=_title, unit=_unit, source=_source, pitfalls=PITFALLS),
            _compute,
            cost=neighbours_cost,
        ),
    )
