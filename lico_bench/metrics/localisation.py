"""Pointing game metrics with a relative tolerance, or in pixels as published.

A row is one image, so that the mean over rows is the micro average. The published score is the mean
of the class means, `stats.class_macro`.
"""

from __future__ import annotations

from torch import Tensor

from lico_bench.metrics import METRICS, Metric, MetricInputs, pointing_game
from lico_bench.records import MetricSpec

# The published 15 px are 2 % of a 640 px side and half of a 32 px side; this is the share at 224.
TOLERANCE_FRAC = 15 / 224
TOLERANCE_PX = 15.0


def relative_pointing_game(
    inputs: MetricInputs, *, tolerance_frac: float = TOLERANCE_FRAC
) -> Tensor:
    """Pointing game hits with a tolerance relative to the shorter side, (N,)."""
    shorter = min(inputs.maps.shape[1:])
    return _hits(inputs, tolerance_frac * shorter)


def absolute_pointing_game(inputs: MetricInputs, *, tolerance_px: float = TOLERANCE_PX) -> Tensor:
    """Pointing game hits with a tolerance in pixels of the model's input image, (N,).

    Differs: the source first resizes the map to the stored image, where 15 px are a smaller share.
    """
    return _hits(inputs, tolerance_px)


def _hits(inputs: MetricInputs, tolerance_px: float) -> Tensor:
    return pointing_game(inputs.maps, inputs.known_regions, tolerance_px=tolerance_px)


PITFALLS = "only the peak counts; peaks shared by several pixels and flat maps are misses"
for _name, _title, _compute, _pitfalls in (
    ("pointing_game", "Pointing game", relative_pointing_game, PITFALLS),
    (
        "pointing_game_15px", "Pointing game, 15 px", absolute_pointing_game,
        f"15 px are half of a 32 px image; meaningful from 200 px; {PITFALLS}",
    ),
):  # fmt: skip
    METRICS.add(
        _name,
        Metric(
            MetricSpec(
                name=_name,
                title=_title,
                higher_is_better=True,
                bounds=(0.0, 1.0),
                unit="share of hits",
                source="Zhang et al., IJCV 2018",
                needs=("maps", "regions"),
                category="localisation",
                pitfalls=_pitfalls,
            ),
            _compute,
        ),
    )
