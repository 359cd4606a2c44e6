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
    from lico_bench.metrics.protocols import PROTOCOLS
    from lico_bench.metrics.value_ranks import pointing_game

_NAMES = {
    "metric": (
        "METRICS", "Curve", "Explainer", "Metric", "MetricCost", "MetricInputs", "MetricResult",
        "add_metric", "resolve_metric",
    ),
    "perturbation": ("Curves", "area_under", "deletion_curve", "perturbation_curves"),
    "protocols": ("PROTOCOLS",),
    "value_ranks": ("pointing_game",),
}  # fmt: skip

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

__getattr__ = lazy_getattr(__name__, {n: home for home, names in _NAMES.items() for n in names})
