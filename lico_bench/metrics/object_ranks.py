"""Overlap of the highest-ranked pixels of a map with the object's region.

Both scores follow Quantus' relevance rank accuracy and top-k intersection. They are computed here
because Quantus sorts with an unstable algorithm, so that a map with plateaus (every rectified map)
selects other pixels on another machine. Here tied pixels at the threshold count with the mean over
all their orders, so that a flat map scores the region's share of the area, like a random map.
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
    """Share of the K highest pixels that lie on a region of K pixels, (N,) in [0, 1].

    NaN if the region is empty.

    Source: Arras et al., Information Fusion 2022 (CLEVR-XAI), relevance rank accuracy.
    Differs: tied values count with the mean over their orders.
    """
    regions = inputs.known_regions.flatten(1)
    return _hit_share(inputs.maps.flatten(1), regions, regions.sum(1))


def top_k(inputs: MetricInputs, *, top_share: float = TOP_SHARE) -> Tensor:
    """Share of the highest 2 % of the pixels that lie on the region, (N,) in [0, 1].

    NaN if the region is empty.

    Source: Theiner et al., WACV 2022, top-k intersection.
    Differs: k is a fixed share of the pixels, 1,000 of 224 x 224, while Quantus uses 1,000 pixels
    for every size (98 % of a 32 px image); tied values count with the mean over their orders.
    """
    if not 0 < top_share <= 1:
        raise InvalidInputError(f"top_k: expected top_share in (0, 1], got {top_share}")
    regions = inputs.known_regions.flatten(1)
    taken = max(1, round(top_share * regions.shape[1]))
    return _hit_share(inputs.maps.flatten(1), regions, torch.full_like(regions.sum(1), taken))


def _hit_share(values: Tensor, regions: Tensor, taken: Tensor) -> Tensor:
    """Expected share of the `taken` (N,) largest `values` (N, P) that lie on `regions` (N, P)."""
    ordered = values.sort(dim=1, descending=True).values
    threshold = ordered.gather(1, (taken - 1).clamp_min(0)[:, None])
    is_above, is_tied = values > threshold, values == threshold
    num_tied = taken - is_above.sum(1)
    hits = (is_above & regions).sum(1)
    hits = hits + num_tied * (is_tied & regions).sum(1) / is_tied.sum(1)
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
                "differs from Quantus for tied values, which Quantus sorts with an unstable order"
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
                "reads 2 % of the pixels, fewer than one cell of a coarse layer; Quantus uses "
                "1,000 pixels for every image size"
            ),
        ),
        top_k,
    ),
)
