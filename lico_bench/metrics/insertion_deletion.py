"""Metrics from perturbation curves: areas, single points, and areas normalised by contrast."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lico_bench.metrics.metric import Curve, MetricCost, MetricInputs, add_metric
from lico_bench.metrics.perturbation import Curves, Order, area_under, perturbation_curves

MIN_CONTRAST = 0.1  # minimum difference in probability between the ends of a curve
SHARED_NAMES: dict[Order, str] = {"most": "curves", "least": "least_first"}


def curves_of(inputs: MetricInputs, first: Order = "most") -> Curves:
    """Insertion and deletion curves of the batch; computed once for all metrics."""
    return inputs.shared.once(
        SHARED_NAMES[first],
        lambda: perturbation_curves(
            inputs.model, inputs.images, inputs.scored, inputs.maps,
            protocol=inputs.protocol, first=first, mean_rgb=inputs.mean_rgb,
        ),
    )  # fmt: skip


def stored_curves(*orders: Order) -> Callable[..., tuple[Curve, ...]]:
    """`Metric.curves` with both curves of each order; those of `least` have names in `_lerf`."""

    def stored(inputs: MetricInputs, **_rules: object) -> tuple[Curve, ...]:
        return tuple(
            Curve(name + suffix, curves.fractions, values)
            for first in orders
            for curves, suffix in [(curves_of(inputs, first), "" if first == "most" else "_lerf")]
            for name, values in (("insertion", curves.insertion), ("deletion", curves.deletion))
        )

    return stored


_add = partial(
    add_metric,
    bounds=(0.0, 1.0),
    unit="probability",
    source="Petsiuk et al., BMVC 2018",
    needs=("curves",),
    cost="forwards",
    cost_of=lambda _protocol, **_: MetricCost(SHARED_NAMES["most"], curves=2),
    curves=stored_curves("most"),
    pitfalls=(
        "changed images are out of distribution, so that a brittle model drops fast and appears "
        "faithful; areas grow with the model's confidence, so compare with the random map of the "
        "same model"
    ),
)
_add_lerf = partial(
    _add,
    source="Samek et al., TNNLS 2017 (least relevant first)",
    cost_of=lambda _protocol, **_: MetricCost(SHARED_NAMES["least"], curves=2),
    curves=stored_curves("least"),
)
_add_normalised = partial(
    _add, bounds=(None, None), source="this project", unit="share of the contrast"
)


@_add("insertion", title="Insertion", higher_is_better=True)
def insertion(inputs: MetricInputs) -> Tensor:
    """Area under the insertion curve, (N,) in [0, 1]."""
    return curves_of(inputs).insertion_auc


@_add("deletion", title="Deletion", higher_is_better=False)
def deletion(inputs: MetricInputs) -> Tensor:
    """Area under the deletion curve, (N,) in [0, 1]."""
    return curves_of(inputs).deletion_auc


@_add(
    "overall", title="Overall", higher_is_better=True, bounds=(-1.0, 1.0),
    source="Zhang et al., 2021 (Group-CAM)",
)  # fmt: skip
def overall(inputs: MetricInputs) -> Tensor:
    """Insertion minus deletion, (N,) in [-1, 1]."""
    return insertion(inputs) - deletion(inputs)


@_add_lerf("insertion_lerf", title="Insertion, least first", higher_is_better=False)
def insertion_lerf(inputs: MetricInputs) -> Tensor:
    """Area under the insertion curve, least salient pixels first, (N,) in [0, 1]."""
    return curves_of(inputs, "least").insertion_auc


@_add_lerf("deletion_lerf", title="Deletion, least first", higher_is_better=True)
def deletion_lerf(inputs: MetricInputs) -> Tensor:
    """Area under the deletion curve, least salient pixels first, (N,) in [0, 1]."""
    return curves_of(inputs, "least").deletion_auc


@_add_lerf(
    "deletion_gap", title="Deletion, gap", higher_is_better=True, bounds=(-1.0, 1.0),
    curves=stored_curves("most", "least"),
)  # fmt: skip
def deletion_gap(inputs: MetricInputs) -> Tensor:
    """Deletion area, least salient first, minus that with the most salient first, in [-1, 1]."""
    return deletion_lerf(inputs) - deletion(inputs)


@_add_normalised("insertion_normalised", title="Insertion, normalised", higher_is_better=True)
def insertion_normalised(inputs: MetricInputs) -> Tensor:
    """Area of the insertion curve rescaled to 0 at the blurred and 1 at the unchanged image, (N,).

    NaN if the two differ by less than 0.1 in probability, where the curve is uninformative.
    """
    curve = curves_of(inputs).insertion
    return _rescaled_area(inputs, curve, curve[:, 0])


@_add_normalised("deletion_normalised", title="Deletion, normalised", higher_is_better=False)
def deletion_normalised(inputs: MetricInputs) -> Tensor:
    """Area of the deletion curve rescaled to 1 at the unchanged and 0 at the deleted image, (N,).

    NaN if the two differ by less than 0.1 in probability.
    """
    curve = curves_of(inputs).deletion
    return _rescaled_area(inputs, curve, curve[:, -1])


@_add_normalised("overall_normalised", title="Overall, normalised", higher_is_better=True)
def overall_normalised(inputs: MetricInputs) -> Tensor:
    """Normalised insertion minus normalised deletion, (N,); NaN if one of them is NaN."""
    return insertion_normalised(inputs) - deletion_normalised(inputs)


def value_at(inputs: MetricInputs, *, curve: str, percent: int) -> Tensor:
    """Probability with `percent` % of the pixels changed, interpolated linearly, (N,)."""
    curves = curves_of(inputs)
    values: Tensor = getattr(curves, curve)
    share = torch.tensor(percent / 100, dtype=curves.fractions.dtype)
    right = int(torch.searchsorted(curves.fractions, share).clamp(1, len(curves.fractions) - 1))
    left = right - 1
    gap = curves.fractions[right] - curves.fractions[left]
    weight = ((share - curves.fractions[left]) / gap).clamp(0, 1)
    return torch.lerp(values[:, left], values[:, right], weight)


for _name, _curve, _percent, _higher_is_better in (
    ("insertion_at_10", "insertion", 10, True),
    ("insertion_at_20", "insertion", 20, True),
    ("insertion_at_50", "insertion", 50, True),
    ("deletion_at_10", "deletion", 10, False),
    ("deletion_at_20", "deletion", 20, False),
    ("deletion_at_50", "deletion", 50, False),
):
    _add(
        _name,
        title=f"{_curve.capitalize()} at {_percent} %",
        higher_is_better=_higher_is_better,
    )(partial(value_at, curve=_curve, percent=_percent))


def _rescaled_area(inputs: MetricInputs, curve: Tensor, empty: Tensor) -> Tensor:
    curves, rule = curves_of(inputs), inputs.protocol.area
    contrast = curves.deletion[:, 0] - empty
    area = area_under(curve, curves.fractions, rule=rule)
    # The area under a constant 1 is not 1 with every area rule.
    unit_area = area_under(torch.ones_like(curve), curves.fractions, rule=rule)
    return torch.where(contrast >= MIN_CONTRAST, (area - empty * unit_area) / contrast, torch.nan)
