"""How much of a map lies on the object, and how much would by chance.

With the map S and the region M, sums over pixels:

    energy_pointing_game   sum(S+ M) / sum(S+)               S+ is S with its negative values at 0
    sch                    sum(S M) / sum(S)                 S as it is, the ratio kept in [0, 1]
    area_prior             sum(M) / number of pixels         what a uniform map scores
    energy_lift            energy_pointing_game / area_prior
    soft_iou               sum(S' M) / sum(S' + M - S' M)    S' is S+ over its maximum

The first two are one number where no value is negative. They were published for boxes and for
masks; here both take what the dataset has, boxes or a mask. A map without any mass scores the area
prior, as a uniform map does: not dropped, which favours models with empty maps, and no hit.
An image whose region is empty is skipped: NaN.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lico_bench.metrics import METRICS, Metric, MetricInputs
from lico_bench.records import MetricSpec


def energy_pointing_game(inputs: MetricInputs) -> Tensor:
    """Share of the map's positive mass that lies on the region, (N,) in [0, 1].

    Source: Wang et al., CVPR Workshops 2020 (Score-CAM), with boxes.
    Differs: a map without positive values scores the area prior.
    """
    regions = inputs.known_regions
    return _share_inside(inputs.maps.clamp_min(0), regions)


def segmentation_content_heatmap(inputs: MetricInputs) -> Tensor:
    """Share of the map's mass on the region, negative values included, (N,) in [0, 1].

    Source: Bartak et al., TMLR 10/2024 (SCH), with masks of ImageNet-S50.
    Differs: without the 1e-5 that is added to the denominator, which makes the score of a faint map
    depend on its scale; the ratio of a map with negative values is kept in [0, 1]; a map whose sum
    is not positive scores the area prior.
    """
    return _share_inside(inputs.maps, inputs.known_regions).clamp(0, 1)


def area_prior(inputs: MetricInputs) -> Tensor:
    """Share of the image that the region covers, (N,) in [0, 1]."""
    regions = inputs.known_regions
    return _unless_empty(regions.flatten(1).float().mean(1), regions)


def energy_lift(inputs: MetricInputs) -> Tensor:
    """How many times more of the map lies on the region than of a uniform map, (N,) >= 0."""
    return energy_pointing_game(inputs) / area_prior(inputs)


def soft_iou(inputs: MetricInputs) -> Tensor:
    """Intersection over union with the map as a soft mask, (N,) in [0, 1].

    The map's positive part is divided by its maximum. A constant map is the whole image and
    scores the area prior, a map without positive values is nothing and scores 0.

    Source: Fletcher et al., TMLR 06/2024, `evaluate_iou.py`, masks of PartImageNet.
    Differs: divided by the maximum without taking the minimum off, which for a rectified map is 0.
    """
    regions = inputs.known_regions.float().flatten(1)
    maps = inputs.maps.clamp_min(0).flatten(1)
    peak = maps.amax(1, keepdim=True)
    maps = maps / torch.where(peak > 0, peak, 1)
    inside = (maps * regions).sum(1)
    return _unless_empty(inside / (maps.sum(1) + regions.sum(1) - inside), regions > 0)


def _share_inside(maps: Tensor, regions: Tensor) -> Tensor:
    """sum(S M) / sum(S), the regions' area where the sum is not positive."""
    flat, inside = maps.flatten(1), regions.flatten(1)
    largest = flat.abs().amax(1, keepdim=True)
    flat = flat / torch.where(largest > 0, largest, 1)  # sums of faint maps would vanish
    total = flat.sum(1)
    is_positive = total > 0
    share = (flat * inside).sum(1) / torch.where(is_positive, total, 1)
    return _unless_empty(torch.where(is_positive, share, inside.float().mean(1)), regions)


def _unless_empty(values: Tensor, regions: Tensor) -> Tensor:
    return torch.where(regions.flatten(1).any(1), values, torch.nan)


_spec = partial(MetricSpec, needs=("maps", "regions"), category="localisation")
PRIOR = "a uniform map scores the area prior: read the lift beside it"
for _metric, _compute in (
    (
        _spec(
            name="energy_pointing_game", title="Energy pointing game", higher_is_better=True,
            bounds=(0.0, 1.0), unit="share of mass", source="Wang et al., CVPR Workshops 2020",
            pitfalls=PRIOR,
        ),
        energy_pointing_game,
    ),
    (
        _spec(
            name="sch", title="Segmentation content heatmap", higher_is_better=True,
            bounds=(0.0, 1.0), unit="share of mass", source="Bartak et al., TMLR 10/2024",
            pitfalls=(
                f"{PRIOR}; the energy pointing game under another name unless values are negative, "
                "and then the ratio of two sums that may both be near zero"
            ),
        ),
        segmentation_content_heatmap,
    ),
    (
        _spec(
            name="area_prior", title="Area prior", higher_is_better=None,
            bounds=(0.0, 1.0), unit="share of the image", source="this project",
            needs=("regions",), pitfalls="a fact of the image, the same for every map",
        ),
        area_prior,
    ),
    (
        _spec(
            name="energy_lift", title="Energy lift", higher_is_better=True,
            bounds=(0.0, None), unit="times chance", source="this project",
            pitfalls="at most one over the area prior: means are led by images of small objects",
        ),
        energy_lift,
    ),
    (
        _spec(
            name="soft_iou", title="Soft IoU", higher_is_better=True,
            bounds=(0.0, 1.0), unit="share of the union", source="Fletcher et al., TMLR 06/2024",
            pitfalls=(
                "a map must be flat at its maximum on the whole object to score 1: peaked maps "
                "score low wherever they lie"
            ),
        ),
        soft_iou,
    ),
):  # fmt: skip
    METRICS.add(_metric.name, Metric(_metric, _compute))
