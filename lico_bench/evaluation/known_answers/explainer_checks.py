"""Metrics that make maps anew, asked about explainers whose answers are known."""

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
    steady_explainer,
)
from lico_bench.evaluation.known_answers.scene import Scene, cheaper
from lico_bench.metrics import Explainer, Metric, MetricInputs
from lico_bench.saliency import Setting, explain, resolve_method

NUM_IMAGES = 8
ATOL_BLIND = 1e-5  # a map compared with itself
ATOL_IDEAL = 0.01  # a moved image is resampled, which costs a little
MOST_FORWARDS = 4  # of a method whose maps are made anew here
LEAST_CHANGE = 0.05  # of a method that does what its name says, from the value of a blind one
LEAST_SHAKEN = 1e-3  # what a method that looks at the image is away from the ideal


def blind_findings(metric: Metric, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """A map that does not look at the network has the worst value, a true method another one."""
    name, some = metric.spec.name, scene.first(NUM_IMAGES)
    worst = metric.spec.bounds[0 if metric.spec.higher_is_better else 1]
    if worst is None:
        return
    blind = metric.compute(inputs_by(brightness_explainer, some))
    yield at_most(
        name, "a map of the image alone, away from the worst value",
        float((blind.double() - worst).abs().max()), ATOL_BLIND,
    )  # fmt: skip
    distances = {
        method: float((metric.compute(inputs_by(method, some)).double() - worst).abs().mean())
        for method in quick_to_make(methods)
    }
    yield from hardest(
        at_least(
            name, "a method, away from the worst value", distance, LEAST_CHANGE,
            detail=method, reason=reason_for(method, name),
        )
        for method, distance in distances.items()
    )  # fmt: skip


def steady_findings(metric: Metric, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """What nothing can shake has the ideal value, what every change shakes a worse one."""
    name, some = metric.spec.name, scene.first(NUM_IMAGES)
    steady = [
        merit(metric, inputs_by(explainer, some))
        for explainer in (steady_explainer, brightness_explainer)
    ]
    best = max(steady, key=lambda values: float(values.nanmean()))
    jumpy = merit(metric, inputs_by(RANDOM, some))
    yield at_least(
        name, "an unshakeable map beats the random one (effect)", effect_size(best - jumpy),
        margins_of(metric.spec, scene.variant).effect,
        detail=f"means {abs(float(best.nanmean())):.3f}, {abs(float(jumpy.nanmean())):.3f}",
    )  # fmt: skip
    ideal = metric.spec.bounds[1 if metric.spec.higher_is_better else 0]
    if ideal is None:
        return
    sign = 1 if metric.spec.higher_is_better else -1
    yield at_most(
        name, "an unshakeable map, away from the ideal value",
        abs(float(best.nanmean()) - sign * ideal), ATOL_IDEAL,
    )  # fmt: skip
    distances = {
        method: abs(float(merit(metric, inputs_by(method, some)).nanmean()) - sign * ideal)
        for method in quick_to_make(methods)
    }
    yield from hardest(
        at_least(
            name, "a method, away from the ideal value", distance, LEAST_SHAKEN,
            detail=method, reason=reason_for(method, name),
        )
        for method, distance in distances.items()
    )  # fmt: skip


def inputs_by(explainer: Explainer | str, scene: Scene) -> MetricInputs:
    """MetricInputs whose maps come from `explainer`, a function or the name of a method."""
    compute = explainer if callable(explainer) else partial(explain, method=cheaper(explainer))
    maps = compute(scene.network, scene.images, scene.targets)
    return replace(scene.inputs(maps), explainer=compute)


def quick_to_make(methods: Sequence[str]) -> list[str]:
    """Those whose maps cost a few forwards."""
    setting = Setting(channels=64, image_size=(32, 32))
    return [m for m in methods if resolve_method(cheaper(m))[1].cost(setting) <= MOST_FORWARDS]
