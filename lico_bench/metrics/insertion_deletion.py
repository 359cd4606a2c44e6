"""Metrics from perturbation curves: areas, single points, and areas normalised by contrast."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lico_bench.metrics import METRICS, Curves, Metric, MetricCost, MetricInputs, area_under
from lico_bench.records import MetricSpec, Protocol

RISE = "Petsiuk et al., BMVC 2018"
PITFALLS = (
    "changed images are out of distribution, so that a brittle model drops fast and appears "
    "faithful; areas grow with the model's confidence, so compare with the random map of the same "
    "model"
)
MIN_CONTRAST = 0.1  # minimum difference in probability between the ends of a curve


def insertion(inputs: MetricInputs) -> Tensor:
    """Area under the insertion curve, (N,) in [0, 1]."""
    return inputs.curves.insertion_auc


def deletion(inputs: MetricInputs) -> Tensor:
    """Area under the deletion curve, (N,) in [0, 1]."""
    return inputs.curves.deletion_auc


def overall(inputs: MetricInputs) -> Tensor:
    """Insertion minus deletion, (N,) in [-1, 1]."""
    return inputs.curves.insertion_auc - inputs.curves.deletion_auc


def insertion_lerf(inputs: MetricInputs) -> Tensor:
    """Area under the insertion curve, least salient pixels first, (N,) in [0, 1]."""
    return inputs.least_first.insertion_auc


def deletion_lerf(inputs: MetricInputs) -> Tensor:
    """Area under the deletion curve, least salient pixels first, (N,) in [0, 1]."""
    return inputs.least_first.deletion_auc


def deletion_gap(inputs: MetricInputs) -> Tensor:
    """Deletion area, least salient first, minus that with the most salient first, in [-1, 1]."""
    return inputs.least_first.deletion_auc - inputs.curves.deletion_auc


def insertion_normalised(inputs: MetricInputs) -> Tensor:
    """Area of the insertion curve rescaled to 0 at the blurred and 1 at the unchanged image, (N,).

    NaN if the two differ by less than 0.1 in probability, where the curve is uninformative.
    """
    curves = inputs.curves
    return _rescaled_area(inputs, curves.insertion, curves.insertion[:, 0], curves)


def deletion_normalised(inputs: MetricInputs) -> Tensor:
    """Area of the deletion curve rescaled to 1 at the unchanged and 0 at the deleted image, (N,).

    NaN if the two differ by less than 0.1 in probability.
    """
    curves = inputs.curves
    return _rescaled_area(inputs, curves.deletion, curves.deletion[:, -1], curves)


def overall_normalised(inputs: MetricInputs) -> Tensor:
    """Normalised insertion minus normalised deletion, (N,); NaN if one of them is NaN."""
    return insertion_normalised(inputs) - deletion_normalised(inputs)


def value_at(inputs: MetricInputs, *, curve: str, percent: int) -> Tensor:
    """Probability with `percent` % of the pixels changed, interpolated linearly, (N,)."""
    curves = inputs.curves
    values: Tensor = getattr(curves, curve)
    share = torch.tensor(percent / 100, dtype=curves.fractions.dtype)
    right = int(torch.searchsorted(curves.fractions, share).clamp(1, len(curves.fractions) - 1))
    left = right - 1
    gap = curves.fractions[right] - curves.fractions[left]
    weight = ((share - curves.fractions[left]) / gap).clamp(0, 1)
    return torch.lerp(values[:, left], values[:, right], weight)


def _rescaled_area(inputs: MetricInputs, curve: Tensor, empty: Tensor, curves: Curves) -> Tensor:
    contrast = curves.deletion[:, 0] - empty
    area = area_under(curve, curves.fractions, rule=inputs.protocol.area)
    # The area under a constant 1 is not 1 with every area rule.
    unit_area = area_under(torch.ones_like(curve), curves.fractions, rule=inputs.protocol.area)
    return torch.where(contrast >= MIN_CONTRAST, (area - empty * unit_area) / contrast, torch.nan)


def curves_cost(_protocol: Protocol, **_rules: object) -> MetricCost:
    """Both curves, shared by all metrics that read them."""
    return MetricCost("curves", curves=2)


def least_first_cost(_protocol: Protocol, **_rules: object) -> MetricCost:
    """Both curves with the least salient pixels first."""
    return MetricCost("least_first", curves=2)


def _add(
    name: str,
    title: str,
    compute: Callable[..., Tensor],
    *,
    higher_is_better: bool | None,
    bounds: tuple[float | None, float | None] = (0.0, 1.0),
    source: str = RISE,
    cost: Callable[..., MetricCost] = curves_cost,
    unit: str = "probability",
) -> None:
    spec = MetricSpec(
        name=name,
        title=title,
        higher_is_better=higher_is_better,
        bounds=bounds,
        unit=unit,
        source=source,
        needs=("curves",),
        cost="forwards",
        pitfalls=PITFALLS,
    )
    METRICS.add(name, Metric(spec, compute, cost=cost))


_add("insertion", "Insertion", insertion, higher_is_better=True)
_add("deletion", "Deletion", deletion, higher_is_better=False)
_add(
    "overall", "Overall", overall, higher_is_better=True, bounds=(-1.0, 1.0),
    source="Zhang et al., 2021 (Group-CAM)",
)  # fmt: skip
_LERF = "Samek et al., TNNLS 2017 (least relevant first)"
_add(
    "insertion_lerf", "Insertion, least first", insertion_lerf, higher_is_better=False,
    source=_LERF, cost=least_first_cost,
)  # fmt: skip
_add(
    "deletion_lerf", "Deletion, least first", deletion_lerf, higher_is_better=True, source=_LERF,
    cost=least_first_cost,
)  # fmt: skip
_add(
    "deletion_gap", "Deletion, gap", deletion_gap, higher_is_better=True, bounds=(-1.0, 1.0),
    source=_LERF, cost=least_first_cost,
)  # fmt: skip
for _name, _title, _compute, _higher_is_better in (
    ("insertion_normalised", "Insertion, normalised", insertion_normalised, True),
    ("deletion_normalised", "Deletion, normalised", deletion_normalised, False),
    ("overall_normalised", "Overall, normalised", overall_normalised, True),
):
    _add(
        _name, _title, _compute, higher_is_better=_higher_is_better, bounds=(None, None),
        source="this project", unit="share of the contrast",
    )  # fmt: skip
for _name, _curve, _percent, _higher_is_better in (
    ("insertion_at_10", "insertion", 10, True),
    ("insertion_at_20", "insertion", 20, True),
    ("insertion_at_50", "insertion", 50, True),
    ("deletion_at_10", "deletion", 10, False),
    ("deletion_at_20", "deletion", 20, False),
    ("deletion_at_50", "deletion", 50, False),
):
    _add(
        _name, f"{_curve.capitalize()} at {_percent} %",
        partial(value_at, curve=_curve, percent=_percent), higher_is_better=_higher_is_better,
    )  # fmt: skip
