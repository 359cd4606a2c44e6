"""How much a map changes when the image changes a little: largest, mean, and per unit of change.

With images x' near x and maps e, all three look at the relative change ‖e(x) - e(x')‖ / ‖e(x)‖.
The images near x are drawn once and explained once, whatever number of these scores is asked for.

Computed here and not by Quantus, which draws from NumPy's global state, leaves [0, 1], compares
maps that were each divided by the maximum of their batch, stops at a batch of flat maps, divides by
zero where one map is flat, and explains anew for each score. On images where none of this matters
the numbers are the same.
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
    """Largest relative change of the map over images near by, (N,) >= 0.

    Args:
        num_samples: images near each one; each costs a map.
        radius: every value of the image moves by at most this, drawn evenly, and stays in [0, 1].

    Source: Yeh et al., NeurIPS 2019, eq. 4, relative to ‖e(x)‖ as in Quantus.
    Differs: a map of zeros that does not stay one has changed by 1, which any other map that
    becomes zero has too.
    """
    change, _ = _neighbours(inputs, num_samples, radius)
    return change.amax(1)


def avg_sensitivity(inputs: MetricInputs, *, num_samples: int = 5, radius: float = 0.05) -> Tensor:
    """Mean relative change of the map over images near by, (N,) >= 0; see `max_sensitivity`."""
    change, _ = _neighbours(inputs, num_samples, radius)
    return change.mean(1)


def local_lipschitz(inputs: MetricInputs, *, num_samples: int = 5, radius: float = 0.05) -> Tensor:
    """Largest relative change of the map per Euclidean distance of the images, (N,) >= 0.

    max ‖e(x) - e(x')‖ / (‖e(x)‖ ‖x - x'‖), images in [0, 1]; see `max_sensitivity`.

    Source: Alvarez-Melis & Jaakkola, 2018 (arXiv 1806.08049).
    Differs: maps in units of ‖e(x)‖, since a map's scale is that of the logits and no property of
    its stability; Quantus takes units of the batch's maximum, another one for each batch.
    """
    change, distance = _neighbours(inputs, num_samples, radius)
    return torch.where(distance > 0, change / distance, 0).amax(1)


def neighbours_cost(
    _protocol: Protocol, *, num_samples: int = 5, radius: float = 0.05
) -> MetricCost:
    """A map for each sample, shared by the three scores."""
    return MetricCost(f"neighbours:{num_samples}:{radius}", explains=num_samples)


def _neighbours(inputs: MetricInputs, num_samples: int, radius: float) -> tuple[Tensor, Tensor]:
    """Relative change of the maps and distance of the images, (N, num_samples) each."""
    check_count("num_samples", num_samples)
    check_positive("radius", radius)
    key = neighbours_cost(inputs.protocol, num_samples=num_samples, radius=radius).shared
    if key not in inputs.shared:
        inputs.shared[key] = _explain_neighbours(inputs, num_samples, radius)
    return cast("tuple[Tensor, Tensor]", inputs.shared[key])


def _explain_neighbours(
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
        near = (images + noise.to(images)).clamp(0, 1)
        found = inputs.explain(near, inputs.targets).to(maps).flatten(1)
        changes.append(_relative_change(maps, found))
        distances.append((near - images).flatten(1).norm(dim=1))
    return torch.stack(changes, 1), torch.stack(distances, 1)


def _relative_change(maps: Tensor, found: Tensor) -> Tensor:
    largest = torch.maximum(maps.abs().amax(1), found.abs().amax(1))
    scale = torch.where(largest > 0, largest, 1)[:, None]  # squares of faint maps would vanish
    maps, found = maps / scale, found / scale
    size = maps.norm(dim=1)
    size = torch.where(size > 0, size, found.norm(dim=1))
    change: Tensor = (maps - found).norm(dim=1)
    return change / torch.where(size > 0, size, 1)


_spec = partial(
    MetricSpec,
    higher_is_better=False,
    bounds=(0.0, None),
    needs=("maps", "explainer"),
    category="robustness",
    cost="explains",
)
BLIND = (
    "a map that ignores the image scores a perfect 0; five samples find less than the true "
    "maximum, so compare equal budgets only"
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
            _spec(name=_name, title=_title, unit=_unit, source=_source, pitfalls=BLIND),
            _compute,
            cost=neighbours_cost,
        ),
    )
