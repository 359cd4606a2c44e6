"""Do several objects of a class get salience in proportion to their area? MOSU, both ways round.

With s the salience and a the area of each marked object, both divided by their sum over the
objects, the published figure is KL(a || s) and the published code computes KL(s || a). They differ,
and both are here.

Source: Bartak et al., TMLR 10/2024 (multi-object salience uniformity).
Differs: objects go through the same resizing and cropping as the image; the published code scales
the boxes of a cropped image by its uncropped sides and misplaces them unless it was square.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, Metric, MetricInputs
from lico_bench.records import MetricSpec

EPSILON = 1e-6  # added to each object's share of the salience, as published


def mosu_area_salience(inputs: MetricInputs, *, epsilon: float = EPSILON) -> Tensor:
    """KL(a || s), nats, (N,) >= 0; NaN with fewer than two objects. The formula of the figure.

    Args:
        epsilon: added to each object's share of the map's positive mass before they are divided
            by their sum. A map without mass gives each object the same.
    """
    return _divergence(inputs, epsilon, area_first=True)


def mosu_salience_area(inputs: MetricInputs, *, epsilon: float = EPSILON) -> Tensor:
    """KL(s || a), nats, (N,) >= 0; see `mosu_area_salience`. What the published code computes."""
    return _divergence(inputs, epsilon, area_first=False)


def _divergence(inputs: MetricInputs, epsilon: float, *, area_first: bool) -> Tensor:
    if inputs.instances is None:
        raise InvalidInputError(
            "mosu: it is not known where each single object is; leave the metric out"
        )
    # Images differ in their number of objects, and few have two: a loop is fast enough.
    found = [
        _of_image(m, i.to(m.device), epsilon, area_first=area_first)
        for m, i in zip(inputs.maps, inputs.instances, strict=True)
    ]
    return torch.stack(found)


def _of_image(salience: Tensor, objects: Tensor, epsilon: float, *, area_first: bool) -> Tensor:
    """Of one map (H, W) and its objects (I, H, W)."""
    area = objects.flatten(1).float().sum(1)
    objects, area = objects[area > 0], area[area > 0]
    if len(area) < 2:
        return salience.new_full((), torch.nan)
    mass = salience.clamp_min(0)
    largest = mass.amax()
    mass = mass / torch.where(largest > 0, largest, 1)
    total = mass.sum()
    share = (mass * objects).flatten(1).sum(1) / torch.where(total > 0, total, 1) + epsilon
    share, area = share / share.sum(), area / area.sum()
    first, second = (area, share) if area_first else (share, area)
    divergence: Tensor = torch.special.xlogy(first, first / second).sum()
    return divergence.clamp_min(0)


PITFALLS = (
    "only images with two objects or more; salience off the objects is not looked at, so that a "
    "uniform map is perfect: read it beside the energy lift"
)
for _name, _title, _compute in (
    ("mosu_area_salience", "MOSU, area to salience", mosu_area_salience),
    ("mosu_salience_area", "MOSU, salience to area", mosu_salience_area),
):
    METRICS.add(
        _name,
        Metric(
            MetricSpec(
                name=_name,
                title=_title,
                higher_is_better=False,
                bounds=(0.0, None),
                unit="nats",
                source="Bartak et al., TMLR 10/2024",
                needs=("maps", "instances"),
                category="localisation",
                pitfalls=PITFALLS,
            ),
            _compute,
        ),
    )
