"""Share of a map's mass on the object, and the share expected by chance.

With the map S and the region M, sums over pixels:

    energy_pointing_game   sum(S+ M) / sum(S+)               S+ is S with negative values set to 0
    sch                    sum(S M) / sum(S)                 the ratio is clamped to [0, 1]
    area_prior             sum(M) / number of pixels         the score of a uniform map
    energy_lift            energy_pointing_game / area_prior
    soft_iou               sum(S' M) / sum(S' + M - S' M)    S' is S+ over its maximum

The first two are equal for maps without negative values. They were published for boxes and for
masks; here both use the regions of the dataset, boxes or masks. A map without mass scores the area
prior, like a uniform map: dropping it would favour models with empty maps, and it is no hit either.
The value is NaN for an image with an empty region.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lico_bench.metrics import METRICS, Metric, MetricInputs
from lico_bench.records import MetricSpec


def energy_pointing_game(inputs: MetricInputs) -> Tensor:
    """Share of the map's positive mass on the region, (N,) in [0, 1].

    Source: Wang et al., CVPR Workshops 2020 (Score-CAM), with boxes.
    Differs: a map without positive values scores the area prior.
    """
    regions = inputs.known_regions
    return _share_inside(inputs.maps.clamp_min(0), regions)


def segmentation_content_heatmap(inputs: MetricInputs) -> Tensor:
    """Share of the map's mass on the region, negative values included, (N,) in [0, 1].

    Source: Bartak et al., TMLR 10/2024 (SCH), with masks of ImageNet-S50.
    Differs: the denominator has no added 1e-5, which makes the score of a faint map depend on its
    scale; the ratio is clamped to [0, 1] for maps with negative values; a map whose sum is not
    positive scores the area prior.
    """
    return _share_inside(inputs.maps, inputs.known_regions).clamp(0, 1)


def area_prior(inputs: MetricInputs) -> Tensor:
    """Share of the image that the region covers, (N,) in [0, 1]."""
    regions = inputs.known_regions
    return _nan_if_empty(regions.flatten(1).float().mean(1), regions)


def energy_lift(inputs: MetricInputs) -> Tensor:
    """Energy pointing game divided by the score of a uniform map, (N,) >= 0."""
    return energy_pointing_game(inputs) / area_prior(inputs)


def soft_iou(inputs: MetricInputs) -> Tensor:
    """Intersection over union with the map as a soft mask, (N,) in [0, 1].

    The map's positive part is divided by its maximum. A constant positive map covers the image and
    scores the area prior; a map without positive values scores 0.

    Source: Fletcher et al., TMLR 06/2024, `evaluate_iou.py`, masks of PartImageNet.
    Differs: the minimum, which is 0 for a rectified map, is not subtracted before the division.
    """
    regions = inputs.known_regions.float().flatten(1)
    maps = inputs.maps.clamp_min(0).flatten(1)
    peak = maps.amax(1, keepdim=True)
    maps = maps / torch.where(peak > 0, peak, 1)
    inside = (maps * regions).sum(1)
    return _nan_if_empty(inside / (maps.sum(1) + regions.sum(1) - inside), regions > 0)


def _share_inside(maps: Tensor, regions: Tensor) -> Tensor:
    """sum(S M) / sum(S), or the region's share of the area if sum(S) is not positive."""
    flat, inside = maps.flatten(1), regions.flatten(1)
    largest = flat.abs().amax(1, keepdim=True)
    flat = flat / torch.where(largest > 0, largest, 1)  # avoids underflow for faint maps
    total = flat.sum(1)
    is_positive = total > 0
    share = (flat * inside).sum(1) / torch.where(is_positive, total, 1)
    return _nan_if_empty(torch.where(is_positive, share, inside.float().mean(1)), regions)


def _nan_if_empty(values: Tensor, regions: Tensor) -> Tensor:
    return torch.where(regions.flatten(1).any(1), values, torch.nan)


_spec = partial(MetricSpec, needs=("maps", "regions"), category="localisation")
PRIOR_PITFALL = "a uniform map scores the area prior; report the energy lift as well"
for _metric, _compute in (
    (
        _spec(
            name="energy_pointing_game", title="Energy pointing game", higher_is_better=True,
            bounds=(0.0, 1.0), unit="share of mass", source="Wang et al., CVPR Workshops 2020",
            pitfalls=PRIOR_PITFALL,
        ),
        energy_pointing_game,
    ),
    (
        _spec(
            name="sch", title="Segmentation content heatmap", higher_is_better=True,
            bounds=(0.0, 1.0), unit="share of mass", source="Bartak et al., TMLR 10/2024",
            pitfalls=(
                f"{PRIOR_PITFALL}; equals the energy pointing game unless values are negative; "
                "then the ratio of two sums that may both be near zero"
            ),
        ),
        segmentation_content_heatmap,
    ),
    (
        _spec(
            name="area_prior", title="Area prior", higher_is_better=None,
            bounds=(0.0, 1.0), unit="share of the image", source="this project",
            needs=("regions",), pitfalls="a property of the image, equal for all maps",
        ),
        area_prior,
    ),
    (
        _spec(
            name="energy_lift", title="Energy lift", higher_is_better=True,
            bounds=(0.0, None), unit="times chance", source="this project",
            pitfalls="at most 1 / area prior, so that images of small objects dominate the mean",
        ),
        energy_lift,
    ),
    (
        _spec(
            name="soft_iou", title="Soft IoU", higher_is_better=True,
            bounds=(0.0, 1.0), unit="share of the union", source="Fletcher et al., TMLR 06/2024",
            pitfalls=(
                "only a map with its maximum on the whole object scores 1; peaked maps score low "
                "at any position"
            ),
        ),
        soft_iou,
    ),
):  # fmt: skip
    METRICS.add(_metric.name, Metric(_metric, _compute))
