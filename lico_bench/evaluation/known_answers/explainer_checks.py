"""Check metrics that compute new maps on explainers with known results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from lico_bench.evaluation.known_answers.finding import (
    Finding,
    at_least,
    at_most,
    hardest,
)
from lico_bench.evaluation.known_answers.map_pairs import RANDOM, effect_size, merit
from lico_bench.evaluation.known_answers.margins import margins_of, reason_for
from lico_bench.evaluation.known_answers.reference_maps import (
    brightness_explainer,
    constant_explainer,
)
from lico_bench.evaluation.known_answers.scene import Scene, with_reduced_cost
from lico_bench.metrics import Explainer, Metric, MetricInputs
from lico_bench.saliency import MapCostInputs, explain, resolve_method

NUM_IMAGES = 8
ATOL_BLIND = 1e-5  # a map compared with itself
ATOL_IDEAL = 0.01  # resampling a transformed image costs a little
MAX_FORWARDS = 4  # per map, of the methods checked here
MIN_CHANGE = 0.05  # distance of a real method from the value of a model-independent map
MIN_SENSITIVITY = 1e-3  # distance of an image-dependent method from the ideal value


def model_dependence_findings(
    metric: Metric, scene: Scene, methods: Sequence[str]
) -> Iterator[Finding]:
    """A model-independent map has the worst value; real methods have another value."""
    name, subset = metric.spec.name, scene.first(NUM_IMAGES)
    worst = metric.spec.bounds[0 if metric.spec.higher_is_better else 1]
    if worst is None:
        return
    blind = metric.compute(inputs_from(brightness_explainer, subset))
    yield at_most(
        name, "model-independent map: distance from the worst value",
        float((blind.double() - worst).abs().max()), ATOL_BLIND,
    )  # fmt: skip
    distances = {
        method: float((metric.compute(inputs_from(method, subset)).double() - worst).abs().mean())
        for method in cheap_methods(methods)
    }
    yield from hardest(
        at_least(
            name, "method: distance from the worst value", distance, MIN_CHANGE,
            detail=method, reason=reason_for(method, name),
        )
        for method, distance in distances.items()
    )  # fmt: skip


def invariance_findings(metric: Metric, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """A map that no perturbation changes has the ideal value; a random map has a worse one."""
    name, subset = metric.spec.name, scene.first(NUM_IMAGES)
    invariant = [
        merit(metric, inputs_from(explainer, subset))
        for explainer in (constant_explainer, brightness_explainer)
    ]
    best = max(invariant, key=lambda values: float(values.nanmean()))
    random = merit(metric, inputs_from(RANDOM, subset))
    yield at_least(
        name, "invariant map beats the random map (effect)", effect_size(best - random),
        margins_of(metric.spec, scene.variant).effect,
        detail=f"means {abs(float(best.nanmean())):.3f}, {abs(float(random.nanmean())):.3f}",
    )  # fmt: skip
    ideal = metric.spec.bounds[1 if metric.spec.higher_is_better else 0]
    if ideal is None:
        return
    sign = 1 if metric.spec.higher_is_better else -1
    yield at_most(
        name, "invariant map: distance from the ideal value",
        abs(float(best.nanmean()) - sign * ideal), ATOL_IDEAL,
    )  # fmt: skip
    distances = {
        method: abs(float(merit(metric, inputs_from(method, subset)).nanmean()) - sign * ideal)
        for method in cheap_methods(methods)
    }
    yield from hardest(
        at_least(
            name, "method: distance from the ideal value", distance, MIN_SENSITIVITY,
            detail=method, reason=reason_for(method, name),
        )
        for method, distance in distances.items()
    )  # fmt: skip


def inputs_from(explainer: Explainer | str, scene: Scene) -> MetricInputs:
    """Inputs with maps by `explainer`, a function or the name of a method."""
    compute = (
        explainer if callable(explainer) else partial(explain, method=with_reduced_cost(explainer))
    )
    maps = compute(scene.network, scene.images, scene.targets)
    return replace(scene.inputs(maps), explainer=compute)


def cheap_methods(methods: Sequence[str]) -> list[str]:
    """The methods whose maps cost at most MAX_FORWARDS forwards."""
    cost_inputs = MapCostInputs(channels=64, image_size=(32, 32))
    return [
        m
        for m in methods
        if resolve_method(with_reduced_cost(m))[1].cost(cost_inputs) <= MAX_FORWARDS
    ]
