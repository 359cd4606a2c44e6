"""Share of a map's mass on the object, on each of several objects, and the share by chance.

With the map S and the region M, sums over pixels:

    energy_pointing_game   sum(S+ M) / sum(S+)               S+ is S with negative values set to 0
    sch                    sum(S M) / sum(S)                 the ratio is clamped to [0, 1]
    area_prior             sum(M) / number of pixels         the score of a uniform map
    energy_lift            energy_pointing_game / area_prior
    soft_iou               sum(S' M) / sum(S' + M - S' M)    S' is S+ over its maximum
    mosu_area_salience     KL(a || s)                        a, s: area and mass of each object,
    mosu_salience_area     KL(s || a)                        normalised over the objects

The first two are equal for maps without negative values. They were published for boxes and for
masks; here both use the regions of the dataset, boxes or masks. A map without mass scores the area
prior, like a uniform map: dropping it would favour models with empty maps, and it is no hit either.
The value is NaN for an image with an empty region.

MOSU asks whether the salience of several objects is proportional to their area. The paper's figure
shows KL(a || s) while the published code computes KL(s || a); both are implemented. Without mass on
any object the value is the worst one; leaving the image out would favour models with empty maps.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.metrics.metric import MetricInputs, add_metric

PRIOR_PITFALL = "a uniform map scores the area prior; report the energy lift as well"
EPSILON = 1e-6  # added to each object's share of the salience, as published

_add = partial(add_metric, bounds=(0.0, 1.0), needs=("maps", "regions"), category="localisation")


@_add(
    "energy_pointing_game",
    title="Energy pointing game",
    higher_is_better=True,
    unit="share of mass",
    source="Wang et al., CVPR Workshops 2020",
    pitfalls=PRIOR_PITFALL,
)
def energy_pointing_game(inputs: MetricInputs) -> Tensor:
    """Share of the map's positive mass on the region, (N,) in [0, 1].

    Source: Wang et al., CVPR Workshops 2020 (Score-CAM), with boxes.
    Differs: a map without positive values scores the area prior.
    """
    return _share_inside(inputs.maps.clamp_min(0), inputs.known_regions)


@_add(
    "sch",
    title="Segmentation content heatmap",
    higher_is_better=True,
    unit="share of mass",
    source="Bartak et al., TMLR 10/2024",
    pitfalls=f"{PRIOR_PITFALL}; equals the energy pointing game unless values are negative; "
    "then the ratio of two sums that may both be near zero",
)
def segmentation_content_heatmap(inputs: MetricInputs) -> Tensor:
    """Share of the map's mass on the region, negative values included, (N,) in [0, 1].

    Source: Bartak et al., TMLR 10/2024 (SCH), with masks of ImageNet-S50.
    Differs: the denominator has no added 1e-5, which makes the score of a faint map depend on its
    scale; the ratio is clamped to [0, 1] for maps with negative values; a map whose sum is not
    positive scores the area prior.
    """
    return _share_inside(inputs.maps, inputs.known_regions).clamp(0, 1)


@_add(
    "area_prior",
    title="Area prior",
    higher_is_better=None,
    unit="share of the image",
    source="this project",
    needs=("regions",),
    pitfalls="a property of the image, equal for all maps",
)
def area_prior(inputs: MetricInputs) -> Tensor:
    """Share of the image that the region covers, (N,) in [0, 1]."""
    regions = inputs.known_regions
    return _nan_if_empty(regions.flatten(1).float().mean(1), regions)


@_add(
    "energy_lift",
    title="Energy lift",
    higher_is_better=True,
    bounds=(0.0, None),
    unit="times chance",
    source="this project",
    pitfalls="at most 1 / area prior, so that images of small objects dominate the mean",
)
def energy_lift(inputs: MetricInputs) -> Tensor:
    """Energy pointing game divided by the score of a uniform map, (N,) >= 0."""
    return energy_pointing_game(inputs) / area_prior(inputs)


@_add(
    "soft_iou",
    title="Soft IoU",
    higher_is_better=True,
    unit="share of the union",
    source="Fletcher et al., TMLR 06/2024",
    pitfalls="only a map with its maximum on the whole object scores 1; peaked maps score low "
    "at any position",
)
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


_add_mosu = partial(
    _add,
    higher_is_better=False,
    bounds=(0.0, None),
    unit="nats",
    source="Bartak et al., TMLR 10/2024",
    needs=("maps", "instances"),
    version=2,
    pitfalls="defined only for images with at least two objects; ignores salience outside the "
    "objects, so that a uniform map is perfect; report the energy lift as well",
)


@_add_mosu("mosu_area_salience", title="MOSU, area to salience")
def mosu_area_salience(inputs: MetricInputs, *, epsilon: float = EPSILON) -> Tensor:
    """KL(a || s) in nats, (N,) >= 0, as in the paper's figure; NaN with fewer than two objects.

    A map without positive mass on any object, such as a map of zeros, shows none of them. It has
    the worst value, that of all mass on the least fitting object.

    Args:
        epsilon: added to each object's share of the map's positive mass before normalisation.

    Source: Bartak et al., TMLR 10/2024 (multi-object salience uniformity).
    Differs: objects are resized and cropped like the image; the published code scales the boxes of
    a cropped image by its uncropped sides, which is wrong unless the image was square. In the
    published code, where only epsilon is left, a map without mass on the objects has equal shares
    and a better value than a map with all mass on one object.
    """
    return _divergence(inputs, epsilon, area_first=True)


@_add_mosu("mosu_salience_area", title="MOSU, salience to area")
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
    inside = (mass * objects).flatten(1).sum(1)
    # Without mass on an object: each map with all of its mass on one of them.
    shares = inside[None] / mass.sum() if inside.any() else torch.eye(len(area)).to(area)
    shares, area = shares + epsilon, area / area.sum()
    shares = shares / shares.sum(1, keepdim=True)
    first, second = (area, shares) if area_first else (shares, area)
    divergences: Tensor = torch.special.xlogy(first, first / second).sum(1)
    return divergences.amax().clamp_min(0)
