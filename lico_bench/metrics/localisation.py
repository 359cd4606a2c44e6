"""The pointing game as a metric, with a tolerance in shares of the side or in pixels as published.

A row is one image, so that the mean of the rows is the micro average; the published score is the
mean of the classes' means, `stats.class_macro`.
"""

from __future__ import annotations

from torch import Tensor

from lico_bench.metrics import METRICS, Metric, MetricInputs, pointing_game
from lico_bench.records import MetricSpec

# The published 15 px are 2 % of a 640 px side and half of a 32 px one; this is their share at 224.
TOLERANCE_FRAC = 15 / 224
TOLERANCE_PX = 15.0


def relative_pointing_game(
    inputs: MetricInputs, *, tolerance_frac: float = TOLERANCE_FRAC
) -> Tensor:
    """Hits with a tolerance of 15 / 224 of the shorter side, (N,)."""
    shorter = min(inputs.maps.shape[1:])
    return _hits(inputs, tolerance_frac * shorter)


def absolute_pointing_game(inputs: MetricInputs, *, tolerance_px: float = TOLERANCE_PX) -> Tensor:
    """Hits with a tolerance in pixels of the image as the model sees it, (N,).

    Differs: the source enlarges the map to the stored image's size first, where 15 px are less.
    """
    return _hits(inputs, tolerance_px)


def _hits(inputs: MetricInputs, tolerance_px: float) -> Tensor:
    return pointing_game(inputs.maps, inputs.known_regions, tolerance_px=tolerance_px)


COARSE = "only the peak counts; peaks that several pixels share, and flat maps, miss"
for _name, _title, _compute, _pitfalls in (
    ("pointing_game", "Pointing game", relative_pointing_game, COARSE),
    (
        "pointing_game_15px", "Pointing game, 15 px", absolute_pointing_game,
        f"15 px are half of a 32 px image: meaningless there, made for 200 px and more; {COARSE}",
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
