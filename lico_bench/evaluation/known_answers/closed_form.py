"""Perturbation metrics on networks worked out by hand: a constant and a weighted sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from lico_bench.evaluation.known_answers.finding import Finding, at_least, at_most
from lico_bench.evaluation.known_answers.map_pairs import (
    difference,
    effect_size,
    merit,
)
from lico_bench.evaluation.known_answers.margins import LEAST_EFFECT
from lico_bench.evaluation.known_answers.networks import (
    MEAN_RGB,
    ConstantNetwork,
    LinearCase,
    linear_case,
)
from lico_bench.evaluation.known_answers.reference_maps import noise_maps
from lico_bench.metrics import PROTOCOLS, Curves, Metric, MetricInputs, area_under
from lico_bench.metrics.insertion_baseline import insertion_baseline

NUM_IMAGES = 8
ATOL_CONSTANT = 1e-5
ATOL_CURVES = 1e-4  # sums of 3,072 products in float32, through a logistic function
PROTOCOL = PROTOCOLS["lico_bench_1"]
MAPS = ("contributions", "noise", "upside down")  # from the best to the worst


def closed_form_findings(metric: Metric) -> Iterator[Finding]:
    """On a constant all maps are equal; on a weighted sum the contributions are the best map."""
    name, least = metric.spec.name, LEAST_EFFECT
    constant = [merit(metric, _inputs("constant", maps)) for maps in MAPS]
    spread = max(difference(constant[0], other) for other in constant[1:])
    yield at_most(name, "on a constant model, spread over maps", spread, ATOL_CONSTANT)
    best, middle, worst = (merit(metric, _inputs("linear", maps)) for maps in MAPS)
    effect = effect_size(best - middle)
    yield at_least(name, "on a linear model, contributions beat noise (effect)", effect, least)
    effect = effect_size(middle - worst)
    yield at_least(name, "on a linear model, noise beats upside down (effect)", effect, least)
    if "curves" in metric.spec.needs:
        by_hand = merit(metric, _inputs_by_hand())
        yield at_most(
            name,
            "on a linear model, away from the closed form",
            difference(best, by_hand),
            ATOL_CURVES,
        )


@lru_cache(maxsize=1)
def _case() -> LinearCase:
    return linear_case(NUM_IMAGES, is_even=False)


@lru_cache(maxsize=1)
def _start() -> dict[str, Tensor]:
    """What deletion ends with and insertion begins with, (1 or N, 3, H, W)."""
    fill = torch.tensor(MEAN_RGB).view(1, 3, 1, 1)
    return {"fill": fill, "blur": insertion_baseline(_case().images, PROTOCOL, fill=fill)}


@lru_cache(maxsize=8)
def _inputs(network: str, maps: str) -> MetricInputs:
    """MetricInputs of maps by name, from a network by name; kept, as metrics share what is costly."""
    case = _case()
    truth = case.network.contributions(case.images, _start()["fill"])
    chosen = {"contributions": truth, "noise": noise_maps(case.images, 0), "upside down": -truth}
    model = {"linear": case.network, "constant": ConstantNetwork().eval()}[network]
    return MetricInputs(
        model,
        case.images,
        case.targets,
        chosen[maps],
        None,
        PROTOCOL,
        network=model,
        predicted=case.targets,
        image_ids=tuple(f"linear/{i}" for i in range(len(case.images))),
        mean_rgb=MEAN_RGB,
    )


@lru_cache(maxsize=1)
def _inputs_by_hand() -> MetricInputs:
    """That of the contributions, with curves that were summed up and not measured."""
    inputs = replace(_inputs("linear", "contributions"), shared={})
    order = inputs.maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    inputs.__dict__["curves"] = _curves(order)
    # Least first is most first with the order read backwards.
    inputs.__dict__["least_first"] = _curves(order.flip(1))
    return inputs


def _curves(order: Tensor) -> Curves:
    """σ(b + Σ contributions of the visible pixels) after 0, P/K, 2P/K, ... pixels."""
    case, start = _case(), _start()
    num_pixels, steps = order.shape[1], PROTOCOL.steps or 0
    counts = torch.arange(steps + 1) * num_pixels // steps
    scores = {}
    for name, sign, first in (("fill", -1, case.images), ("blur", 1, start["blur"])):
        parts = case.network.contributions(case.images, start[name]).flatten(1).double()
        ordered = parts.gather(1, order).cumsum(1)
        sums = torch.cat([torch.zeros_like(ordered[:, :1]), ordered], 1)[:, counts]
        scores[name] = torch.sigmoid(_logit(first)[:, None] + sign * sums).float()
    shares = counts / num_pixels
    return Curves(
        fractions=shares,
        insertion=scores["blur"],
        deletion=scores["fill"],
        insertion_auc=area_under(scores["blur"], shares),
        deletion_auc=area_under(scores["fill"], shares),
        forwards=0,
    )


def _logit(images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = _case().network(images.double())
    return logits[:, 1]
