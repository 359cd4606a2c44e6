"""Metrics that only depend on the order of a map's values: flat maps, ties, peaks, highest pixels.

The pointing game asks whether the peak of a map lies on the object, within a tolerance. As a
metric, the tolerance is relative to the image, or in pixels as published. A row is one image, so
that the mean over rows is the micro average. The published score is the mean of the class means,
`stats.class_macro`.

The overlap of the highest pixels with the object follows Quantus' relevance rank accuracy and top-k
intersection. It is computed here because Quantus sorts with an unstable algorithm, so that a map
with plateaus (every rectified map) selects other pixels on another machine. Here tied pixels at the
threshold count with the mean over all their orders, so that a flat map scores the region's share of
the area, like a random map.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lico_bench.checks import check_not_negative
from lico_bench.errors import InvalidInputError
from lico_bench.metrics.metric import MetricInputs, add_metric

# The published 15 px are 2 % of a 640 px side and half of a 32 px side; this is the share at 224.
TOLERANCE_FRAC = 15 / 224
TOLERANCE_PX = 15.0
PITFALLS = "only the peak counts; peaks shared by several pixels and flat maps are misses"
TOP_SHARE = 1000 / 224**2  # the published 1,000 pixels of a 224 px image

_add_fact = partial(
    add_metric,
    higher_is_better=None,
    bounds=(0.0, 1.0),
    source="this project",
    category="complexity",
    pitfalls="a property of the map, not a quality score",
)
_add_localisation = partial(
    add_metric,
    higher_is_better=True,
    bounds=(0.0, 1.0),
    needs=("maps", "regions"),
    category="localisation",
)
_add_overlap = partial(_add_localisation, unit="share of pixels")
_add_pointing = partial(_add_localisation, unit="share of hits", source="Zhang et al., IJCV 2018")


def is_flat(maps: Tensor) -> Tensor:
    """Whether all values of each map (N, H, W) are equal, (N,) bool."""
    flat = maps.flatten(1)
    return flat.amax(1) == flat.amin(1)


@_add_fact("flat_map", title="Flat maps", unit="share of images")
def flat_map(inputs: MetricInputs) -> Tensor:
    """1 if all values of the map are equal, so that it ranks no pixels, otherwise 0; (N,)."""
    return is_flat(inputs.maps).float()


@_add_fact("tied_ranks", title="Tied ranks", unit="share of pixels")
def tied_ranks(inputs: MetricInputs) -> Tensor:
    """Share of the pixels whose value occurs more than once in the map, (N,) in [0, 1].

    The protocol's tie rule decides their order, not the method.
    """
    values = inputs.sorted_values
    is_same = values[:, 1:] == values[:, :-1]
    border = torch.zeros_like(is_same[:, :1])
    is_tied = torch.cat([is_same, border], 1) | torch.cat([border, is_same], 1)
    return is_tied.float().mean(1)


@_add_overlap(
    "rank_accuracy",
    title="Rank accuracy",
    source="Arras et al., Information Fusion 2022",
    pitfalls="a uniform map scores the region's area share, so compare with the random map; "
    "differs from Quantus for tied values, which Quantus sorts with an unstable order",
)
def rank_accuracy(inputs: MetricInputs) -> Tensor:
    """Share of the K highest pixels that lie on a region of K pixels, (N,) in [0, 1].

    NaN if the region is empty.

    Source: Arras et al., Information Fusion 2022 (CLEVR-XAI), relevance rank accuracy.
    Differs: tied values count with the mean over their orders.
    """
    return _hit_share(inputs, inputs.known_regions.flatten(1).sum(1))


@_add_overlap(
    "top_k",
    title="Top-k intersection",
    source="Theiner et al., WACV 2022",
    pitfalls="a uniform map scores the region's area share, so compare with the random map; "
    "reads 2 % of the pixels, fewer than one cell of a coarse layer; Quantus uses "
    "1,000 pixels for every image size",
)
def top_k(inputs: MetricInputs, *, top_share: float = TOP_SHARE) -> Tensor:
    """Share of the highest 2 % of the pixels that lie on the region, (N,) in [0, 1].

    NaN if the region is empty.

    Source: Theiner et al., WACV 2022, top-k intersection.
    Differs: k is a fixed share of the pixels, 1,000 of 224 x 224, while Quantus uses 1,000 pixels
    for every size (98 % of a 32 px image); tied values count with the mean over their orders.
    """
    if not 0 < top_share <= 1:
        raise InvalidInputError(f"top_k: expected top_share in (0, 1], got {top_share}")
    num_pixels = inputs.maps[0].numel()
    num_taken = max(1, round(top_share * num_pixels))
    return _hit_share(inputs, inputs.known_regions.flatten(1).sum(1).fill_(num_taken))


def _hit_share(inputs: MetricInputs, taken: Tensor) -> Tensor:
    """Expected share (N,) of the `taken` (N,) largest values that lie on the region."""
    values, regions = inputs.maps.flatten(1), inputs.known_regions.flatten(1)
    threshold = inputs.sorted_values.gather(1, (taken - 1).clamp_min(0)[:, None])
    is_above, is_tied = values > threshold, values == threshold
    num_tied = taken - is_above.sum(1)
    hits = (is_above & regions).sum(1)
    hits = hits + num_tied * (is_tied & regions).sum(1) / is_tied.sum(1)
    return torch.where(regions.any(1), hits / taken, torch.nan)


def pointing_game(maps: Tensor, regions: Tensor, *, tolerance_px: float) -> Tensor:
    """1 if the peak of a map lies on its region or within the tolerance, otherwise 0.

    Args:
        maps: (N, H, W) float, finite.
        regions: (N, H, W) bool, the object.
        tolerance_px: a peak closer to the region than this is a hit; distances are between
            pixel centres.

    Returns:
        (N,) float32: 1 for a hit, 0 for a miss, NaN if the region is empty. Flat maps and peaks
        shared by several pixels are misses.

    Raises:
        InvalidInputError: for mismatched shapes or a negative tolerance.

    Source: Zhang et al., IJCV 2018; the distance must be strictly below the tolerance, as in the
    published evaluations. Differs: ties are misses, where others use the first maximum.
    """
    check_not_negative("tolerance_px", tolerance_px)
    if maps.ndim != 3 or maps.shape != regions.shape or regions.dtype != torch.bool:
        raise InvalidInputError(
            "pointing_game: expected maps (N, H, W) and bool regions of the same shape, "
            f"got {tuple(maps.shape)} and {tuple(regions.shape)} {regions.dtype}"
        )
    flat = maps.flatten(1)
    peak, position = flat.max(dim=1)
    is_unique = (flat == peak[:, None]).sum(1) == 1
    width = maps.shape[2]
    row, column = position // width, position % width
    y = torch.arange(maps.shape[1], device=maps.device)
    x = torch.arange(width, device=maps.device)
    squared = (y - row[:, None])[:, :, None] ** 2 + (x - column[:, None])[:, None, :] ** 2
    is_near = (squared < tolerance_px**2) | (squared == 0)
    hits = (is_near & regions).flatten(1).any(1) & is_unique
    return torch.where(regions.flatten(1).any(1), hits.float(), torch.nan)


@_add_pointing("pointing_game", title="Pointing game", pitfalls=PITFALLS)
def relative_pointing_game(
    inputs: MetricInputs, *, tolerance_frac: float = TOLERANCE_FRAC
) -> Tensor:
    """Pointing game hits with a tolerance relative to the shorter side, (N,)."""
    tolerance_px = tolerance_frac * min(inputs.maps.shape[1:])
    return pointing_game(inputs.maps, inputs.known_regions, tolerance_px=tolerance_px)


@_add_pointing(
    "pointing_game_15px",
    title="Pointing game, 15 px",
    pitfalls=f"15 px are half of a 32 px image; meaningful from 200 px; {PITFALLS}",
)
def absolute_pointing_game(inputs: MetricInputs, *, tolerance_px: float = TOLERANCE_PX) -> Tensor:
    """Pointing game hits with a tolerance in pixels of the model's input image, (N,).

    Differs: the source first resizes the map to the stored image, where 15 px are a smaller share.
    """
    return pointing_game(inputs.maps, inputs.known_regions, tolerance_px=tolerance_px)
