"""MOSU: is the salience of several objects of a class proportional to their area?

With s the salience and a the area of each object, both normalised over the objects, the
paper's figure shows KL(a || s) while the published code computes KL(s || a). Both are implemented.

Source: Bartak et al., TMLR 10/2024 (multi-object salience uniformity).
Differs: objects are resized and cropped like the image; the published code scales the boxes of a
cropped image by its uncropped sides, which is wrong unless the image was square.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, Metric, MetricInputs
from lico_bench.records import MetricSpec

EPSILON = 1e-6  # added to each object's share of the salience, as published


def mosu_area_salience(inputs: MetricInputs, *, epsilon: float = EPSILON) -> Tensor:
    """KL(a || s) in nats, (N,) >= 0, as in the paper's figure; NaN with fewer than two objects.

    Args:
        epsilon: added to each object's share of the map's positive mass before normalisation. A
            map without mass has equal shares.
    """
    return _divergence(inputs, epsilon, area_first=True)


def mosu_salience_area(inputs: MetricInputs, *, epsilon: float = EPSILON) -> Tensor:
    """KL(s || a) in nats, (N,) >= 0, as in the published code; see `mosu_area_salience`."""
    return _divergence(inputs, epsilon, area_first=False)


def _divergence(inputs: MetricInputs, epsilon: float, *, area_first: bool) -> Tensor:
    if inputs.instances is None:
        raise InvalidInputError(
            "mosu: expected a mask for each object, but the dataset has none; remove the metric"
        )
    # The number of objects varies and few images have two, so a loop is fast enough.
    values = [
        _image_divergence(m, i.to(m.device), epsilon, area_first=area_first)
        for m, i in zip(inputs.maps, inputs.instances, strict=True)
    ]
    return torch.stack(values)


def _image_divergence(
    salience: Tensor, objects: Tensor, epsilon: float, *, area_first: bool
) -> Tensor:
    """Divergence of one map (H, W) with its objects (I, H, W)."""
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
    "defined only for images with at least two objects; ignores salience outside the objects, so "
    "that a uniform map is perfect; report the energy lift as well"
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
