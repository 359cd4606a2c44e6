"""Insertion, deletion and their difference: areas under the perturbation curves."""

from __future__ import annotations

from torch import Tensor

from lico_bench.metrics import METRICS, Evidence, Metric
from lico_bench.records import MetricSpec


def insertion(evidence: Evidence) -> Tensor:
    """Area under the insertion curve, (N,) in [0, 1]."""
    return evidence.curves.insertion_auc


def deletion(evidence: Evidence) -> Tensor:
    """Area under the deletion curve, (N,) in [0, 1]."""
    return evidence.curves.deletion_auc


def overall(evidence: Evidence) -> Tensor:
    """Insertion minus deletion, (N,) in [-1, 1]."""
    return evidence.curves.insertion_auc - evidence.curves.deletion_auc


for _name, _compute, _is_better, _bounds, _source in (
    ("insertion", insertion, True, (0.0, 1.0), "Petsiuk et al., BMVC 2018"),
    ("deletion", deletion, False, (0.0, 1.0), "Petsiuk et al., BMVC 2018"),
    ("overall", overall, True, (-1.0, 1.0), "Zhang et al., 2021 (Group-CAM)"),
):
    METRICS.add(
        _name,
        Metric(
            MetricSpec(
                name=_name,
                title=_name.capitalize(),
                higher_is_better=_is_better,
                bounds=_bounds,
                unit="probability",
                source=_source,
                needs=("curves",),
            ),
            _compute,
        ),
    )
