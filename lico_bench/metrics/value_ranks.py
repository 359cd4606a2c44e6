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

import numpy as np
import torch
from torch import Tensor

from lico_bench.checks import check_choice, check_not_negative
from lico_bench.errors import InvalidInputError
from lico_bench.metrics.metric import MetricInputs, add_metric

# The published 15 px are 2 % of a 640 px side and half of a 32 px side; this is the share at 224.
TOLERANCE_FRAC = 15 / 224
TOLERANCE_PX = 15.0
TIES = ("expected", "strict")
PITFALLS = (
    "only the peak counts; a peak shared by several pixels counts by their share of hits, so that "
    "the values of a coarse map are not only 0 and 1; flat maps are misses"
)
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
_add_pointing = partial(
    _add_localisation, unit="share of hits", source="Zhang et al., IJCV 2018", version=2
)


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


def pointing_game(
    maps: Tensor, regions: Tensor, *, tolerance_px: float, ties: str = "expected"
) -> Tensor:
    """Probability that a peak of the map lies on its region or within the tolerance.

    Args:
        maps: (N, H, W) float, finite.
        regions: (N, H, W) bool, the object.
        tolerance_px: a peak closer to the region than this is a hit; distances are between
            pixel centres.
        ties: the value of a peak that several pixels share. `expected` draws one of them uniformly,
            so that the value is the share of them that hit; `strict` is always a miss.

    Returns:
        (N,) float32 in [0, 1], NaN if the region is empty. A single peak is 1 for a hit and 0 for a
        miss. A flat map points nowhere and is a miss.

    Raises:
        InvalidInputError: for mismatched shapes, a negative tolerance, or another value of `ties`.

    Source: Zhang et al., IJCV 2018; the distance must be strictly below the tolerance, as in the
    published evaluations. Differs: others use the first of several maxima, which depends on the
    orientation of the image. Bilinear enlargement repeats the outer half of a border cell, so that
    a peak there is always shared; `strict` counts it as a miss whatever lies there.
    """
    check_not_negative("tolerance_px", tolerance_px)
    check_choice("ties", ties, TIES)
    if maps.ndim != 3 or maps.shape != regions.shape or regions.dtype != torch.bool:
        raise InvalidInputError(
            "pointing_game: expected maps (N, H, W) and bool regions of the same shape, "
            f"got {tuple(maps.shape)} and {tuple(regions.shape)} {regions.dtype}"
        )
    is_peak = maps == maps.amax((1, 2), keepdim=True)
    num_peaks = is_peak.flatten(1).sum(1)
    num_hits = (is_peak & _are_near(regions, tolerance_px)).flatten(1).sum(1)
    is_miss = is_flat(maps) if ties == "expected" else num_peaks > 1
    values = torch.where(is_miss, 0, num_hits / num_peaks)
    return torch.where(regions.flatten(1).any(1), values, torch.nan)


def _are_near(regions: Tensor, tolerance_px: float) -> Tensor:
    """Pixels (N, H, W) bool on the region, or closer to it than the tolerance."""
    if tolerance_px <= 1:
        return regions
    from scipy import ndimage  # the import takes a second

    outside = (~regions).cpu().numpy()
    distances = np.array([ndimage.distance_transform_edt(pixels) for pixels in outside])
    squared = torch.from_numpy(distances**2).round()  # exact whole numbers
    return (squared < tolerance_px**2).to(regions.device)


@_add_pointing("pointing_game", title="Pointing game", pitfalls=PITFALLS)
def relative_pointing_game(
    inputs: MetricInputs, *, tolerance_frac: float = TOLERANCE_FRAC, ties: str = "expected"
) -> Tensor:
    """Probability that a peak hits, with a tolerance relative to the shorter side, (N,).

    Args:
        tolerance_frac: distance below which a peak hits, as a share of the shorter side.
        ties: `expected` counts the share of the tied peaks that hit, `strict` counts a tie as a
            miss, as rows with the rules `pointing_game_1@...` did.
    """
    tolerance_px = tolerance_frac * min(inputs.maps.shape[1:])
    return pointing_game(inputs.maps, inputs.known_regions, tolerance_px=tolerance_px, ties=ties)


@_add_pointing(
    "pointing_game_15px",
    title="Pointing game, 15 px",
    pitfalls=f"15 px are half of a 32 px image; meaningful from 200 px; {PITFALLS}",
)
def absolute_pointing_game(
    inputs: MetricInputs, *, tolerance_px: float = TOLERANCE_PX, ties: str = "expected"
) -> Tensor:
    """Probability that a peak hits, with a tolerance in pixels of the model's input image, (N,).

    Differs: the source first resizes the map to the stored image, where 15 px are a smaller share.
    """
    return pointing_game(inputs.maps, inputs.known_regions, tolerance_px=tolerance_px, ties=ties)
