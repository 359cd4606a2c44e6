"""Metrics of saliency maps by name, each with direction, range, unit and source.

Submodules are imported when a name is first used, so that the protocols do not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lico_bench.registry import lazy_getattr

if TYPE_CHECKING:
    from lico_bench.metrics.metric import (
        METRICS,
        Curve,
        Explainer,
        Metric,
        MetricCost,
        MetricInputs,
        MetricResult,
        add_metric,
        resolve_metric,
    )
    from lico_bench.metrics.perturbation import (
        Curves,
        area_under,
        deletion_curve,
        perturbation_curves,
    )
    from lico_bench.metrics.pointing import pointing_game
    from lico_bench.metrics.protocols import PROTOCOLS

_HOMES = {
    "METRICS": "metric",
    "PROTOCOLS": "protocols",
    "Curve": "metric",
    "Curves": "perturbation",
    "Explainer": "metric",
    "Metric": "metric",
    "MetricCost": "metric",
    "MetricInputs": "metric",
    "MetricResult": "metric",
    "add_metric": "metric",
    "area_under": "perturbation",
    "deletion_curve": "perturbation",
    "perturbation_curves": "perturbation",
    "pointing_game": "pointing",
    "resolve_metric": "metric",
}

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "Curve",
    "Curves",
    "Explainer",
    "Metric",
    "MetricCost",
    "MetricInputs",
    "MetricResult",
    "add_metric",
    "area_under",
    "deletion_curve",
    "perturbation_curves",
    "pointing_game",
    "resolve_metric",
]

__getattr__ = lazy_getattr(__name__, _HOMES)
