"""The pointing game as a metric: tolerance in shares of the side, so that it means one thing."""

from __future__ import annotations

from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, Evidence, Metric, pointing_game
from lico_bench.records import MetricSpec

# The published 15 px are 2 % of a 640 px side and half of a 32 px one; this is their share at 224.
TOLERANCE_FRAC = 15 / 224


def relative_pointing_game(evidence: Evidence, *, tolerance_frac: float = TOLERANCE_FRAC) -> Tensor:
    """Hits with a tolerance of 15 / 224 of the shorter side, (N,)."""
    if evidence.regions is None:
        raise InvalidInputError("pointing_game: the dataset has no regions; leave the metric out")
    shorter = min(evidence.maps.shape[1:])
    return pointing_game(
        evidence.maps,
        evidence.regions.to(evidence.maps.device),
        tolerance_px=tolerance_frac * shorter,
    )


METRICS.add(
    "pointing_game",
    Metric(
        MetricSpec(
            name="pointing_game",
            title="Pointing game",
            higher_is_better=True,
            bounds=(0.0, 1.0),
            unit="share of hits",
            source="Zhang et al., IJCV 2018",
            needs=("maps", "regions"),
            category="localisation",
        ),
        relative_pointing_game,
    ),
)
