"""Check perturbation metrics on a constant and a linear network, in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from lico_bench.evaluation.known_answers.finding import (
    Finding,
    at_least,
    at_most,
    difference,
    effect_size,
    merit,
)
from lico_bench.evaluation.known_answers.margins import MIN_EFFECT
from lico_bench.evaluation.known_answers.networks import (
    MEAN_RGB,
    ConstantNetwork,
    LinearCase,
    linear_case,
)
from lico_bench.evaluation.known_answers.scene import noise_maps
from lico_bench.metrics import PROTOCOLS, Curves, Metric, MetricInputs, area_under
from lico_bench.metrics.insertion_deletion import SHARED_NAMES
from lico_bench.metrics.perturbation import insertion_baseline

NUM_IMAGES = 8
ATOL_CONSTANT = 1e-5
ATOL_CURVES = 1e-4  # sums of 3,072 products in float32, through a logistic function
PROTOCOL = PROTOCOLS["lico_bench_1"]
MAPS = ("contributions", "noise", "negated")  # from best to worst


def closed_form_findings(metric: Metric) -> Iterator[Finding]:
    """All maps score equally on a constant network; contributions score best on a linear one."""
    name, min_effect = metric.spec.name, MIN_EFFECT
    constant = [merit(metric, _inputs("constant", maps)) for maps in MAPS]
    spread = max(difference(constant[0], values) for values in constant[1:])
    yield at_most(name, "constant network: spread over maps", spread, ATOL_CONSTANT)
    best, middle, worst = (merit(metric, _inputs("linear", maps)) for maps in MAPS)
    effect = effect_size(best - middle)
    yield at_least(name, "linear network: contributions beat noise (effect)", effect, min_effect)
    effect = effect_size(middle - worst)
    yield at_least(
        name, "linear network: noise beats negated contributions (effect)", effect, min_effect
    )
    if "curves" in metric.spec.needs:
        expected = merit(metric, _closed_form_inputs())
        yield at_most(
            name,
            "linear network: deviation from the closed form",
            difference(best, expected),
            ATOL_CURVES,
        )


@lru_cache(maxsize=1)
def _case() -> LinearCase:
    return linear_case(NUM_IMAGES, is_uniform=False)


@lru_cache(maxsize=1)
def _baselines() -> dict[str, Tensor]:
    """End state of deletion and start state of insertion, (1 or N, 3, H, W)."""
    fill = torch.tensor(MEAN_RGB).view(1, 3, 1, 1)
    return {"fill": fill, "blur": insertion_baseline(_case().images, PROTOCOL, fill=fill)}


@lru_cache(maxsize=8)
def _inputs(network: str, maps: str) -> MetricInputs:
    """Inputs for a network and maps by name; cached because metrics share costly results."""
    case = _case()
    contributions = case.network.contributions(case.images, _baselines()["fill"])
    maps_by_name = {
        "contributions": contributions,
        "noise": noise_maps(case.images, 0),
        "negated": -contributions,
    }
    model = {"linear": case.network, "constant": ConstantNetwork().eval()}[network]
    return MetricInputs(
        model,
        case.images,
        case.targets,
        maps_by_name[maps],
        None,
        PROTOCOL,
        network=model,
        predicted=case.targets,
        image_ids=tuple(f"linear/{i}" for i in range(len(case.images))),
        mean_rgb=MEAN_RGB,
    )


@lru_cache(maxsize=1)
def _closed_form_inputs() -> MetricInputs:
    """Inputs of the contributions map with curves computed in closed form."""
    inputs = replace(_inputs("linear", "contributions"))
    order = inputs.maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    inputs.shared.once(SHARED_NAMES["most"], lambda: _curves(order))
    inputs.shared.once(SHARED_NAMES["least"], lambda: _curves(order.flip(1)))
    return inputs


def _curves(order: Tensor) -> Curves:
    """Curves σ(b + Σ contributions of the visible pixels) after 0, P/K, 2P/K, ... pixels."""
    case, baselines = _case(), _baselines()
    num_pixels, steps = order.shape[1], PROTOCOL.steps or 0
    counts = torch.arange(steps + 1) * num_pixels // steps
    scores = {}
    for name, sign, first in (("fill", -1, case.images), ("blur", 1, baselines["blur"])):
        contributions = case.network.contributions(case.images, baselines[name])
        ordered = contributions.flatten(1).double().gather(1, order).cumsum(1)
        sums = torch.cat([torch.zeros_like(ordered[:, :1]), ordered], 1)[:, counts]
        scores[name] = torch.sigmoid(_logit(first)[:, None] + sign * sums).float()
    fractions = counts / num_pixels
    return Curves(
        fractions=fractions,
        insertion=scores["blur"],
        deletion=scores["fill"],
        insertion_auc=area_under(scores["blur"], fractions),
        deletion_auc=area_under(scores["fill"], fractions),
        forwards=0,
    )


def _logit(images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = _case().network(images.double())
    return logits[:, 1]
