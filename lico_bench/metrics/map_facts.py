"""Properties of a map that limit every ranking metric: flat maps and tied ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from lico_bench.metrics import METRICS, Metric, MetricInputs
from lico_bench.records import MetricSpec


def is_flat(maps: Tensor) -> Tensor:
    """Whether all values of each map (N, H, W) are equal, (N,) bool."""
    flat = maps.flatten(1)
    return flat.amax(1) == flat.amin(1)


def flat_map(inputs: MetricInputs) -> Tensor:
    """1 if all values of the map are equal, so that it ranks no pixels, otherwise 0; (N,)."""
    return is_flat(inputs.maps).float()


def tied_ranks(inputs: MetricInputs) -> Tensor:
    """Share of the pixels whose value occurs more than once in the map, (N,) in [0, 1].

    The protocol's tie rule decides their order, not the method.
    """
    values = inputs.maps.flatten(1).sort(dim=1).values
    is_same = values[:, 1:] == values[:, :-1]
    border = torch.zeros_like(is_same[:, :1])
    is_tied = torch.cat([is_same, border], 1) | torch.cat([border, is_same], 1)
    return is_tied.float().mean(1)


for _name, _title, _compute, _unit in (
    ("flat_map", "Flat maps", flat_map, "share of images"),
    ("tied_ranks", "Tied ranks", tied_ranks, "share of pixels"),
):
    METRICS.add(
        _name,
        Metric(
            MetricSpec(
                name=_name,
                title=_title,
                higher_is_better=None,
                bounds=(0.0, 1.0),
                unit=_unit,
                source="this project",
                category="complexity",
                pitfalls="a property of the map, not a quality score",
            ),
            _compute,
        ),
    )
