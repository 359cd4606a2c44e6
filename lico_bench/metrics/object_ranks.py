"""Do the largest values of a map lie on the object? Overlap of its first pixels with the region.

Both scores come from Quantus' relevance rank accuracy and top-k intersection, computed here on the
device: Quantus sorts by an unstable order, and a map with plateaus (every rectified one) has other
first pixels on another machine. Here the pixels that share the last value taken count in the mean
over all their orders, so a flat map scores the area share of the region, as a random map does.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, Metric, MetricInputs
from lico_bench.records import MetricSpec

TOP_SHARE = 1000 / 224**2  # the published 1,000 pixels of a 224 px image


def rank_accuracy(inputs: MetricInputs) -> Tensor:
    """Share of the first K pixels that lie on a region of K pixels, (N,) in [0, 1].

    NaN where the region is empty.

    Source: Arras et al., Information Fusion 2022 (CLEVR-XAI), relevance rank accuracy.
    Differs: equal values count in the mean over their orders.
    """
    regions = inputs.known_regions.flatten(1)
    return _hit_share(inputs.maps.flatten(1), regions, regions.sum(1))


def top_k(inputs: MetricInputs, *, top_share: float = TOP_SHARE) -> Tensor:
    """Share of a map's first pixels, 2 % of them, that lie on the region, (N,) in [0, 1].

    NaN where the region is empty.

    Source: Theiner et al., WACV 2022, top-k intersection.
    Differs: k is the same share of every image, 1,000 of 224 x 224 pixels, where Quantus takes
    1,000 of any (98 % of a 32 px image); equal values count in the mean over their orders.
    """
    if not 0 < top_share <= 1:
        raise InvalidInputError(f"top_k: expected a top_share in (0, 1], got {top_share}")
    regions = inputs.known_regions.flatten(1)
    taken = max(1, round(top_share * regions.shape[1]))
    return _hit_share(inputs.maps.flatten(1), regions, torch.full_like(regions.sum(1), taken))


def _hit_share(values: Tensor, regions: Tensor, taken: Tensor) -> Tensor:
    """Expected share of the `taken` (N,) largest `values` (N, P) that lie on `regions` (N, P)."""
    ordered = values.sort(dim=1, descending=True).values
    last = ordered.gather(1, (taken - 1).clamp_min(0)[:, None])
    is_above, is_last = values > last, values == last
    places_left = taken - is_above.sum(1)
    hits = (is_above & regions).sum(1)
    hits = hits + places_left * (is_last & regions).sum(1) / is_last.sum(1)
    return torch.where(regions.any(1), hits / taken, torch.nan)


_spec = partial(
    MetricSpec,
    higher_is_better=True,
    bounds=(0.0, 1.0),
    unit="share of pixels",
    needs=("maps", "regions"),
    category="localisation",
)
METRICS.add(
    "rank_accuracy",
    Metric(
        _spec(
            name="rank_accuracy",
            title="Rank accuracy",
            source="Arras et al., Information Fusion 2022",
            pitfalls=(
                "a uniform map scores the region's area share, so compare with the random map; "
                "not Quantus' own number where values tie, whose order is unstable there"
            ),
        ),
        rank_accuracy,
    ),
)
METRICS.add(
    "top_k",
    Metric(
        _spec(
            name="top_k",
            title="Top-k intersection",
            source="Theiner et al., WACV 2022",
            pitfalls=(
                "a uniform map scores the region's area share, so compare with the random map; "
                "looks at 2 % of the pixels, fewer than one cell of a coarse layer; Quantus takes "
                "1,000 pixels whatever the image's size"
            ),
        ),
        top_k,
    ),
)
