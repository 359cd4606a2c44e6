"""Check metrics: basic guarantees, and the ranking of maps and explainers whose order is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.evaluation.known_answers.finding import (
    RANDOM,
    Finding,
    MapScores,
    at_least,
    at_most,
    difference,
    effect_size,
    hardest,
    merit,
)
from lico_bench.evaluation.known_answers.margins import kind_of, margins_of, reason_for
from lico_bench.evaluation.known_answers.networks import closed_form_findings
from lico_bench.evaluation.known_answers.scene import (
    Scene,
    brightness_explainer,
    constant_explainer,
    flat_maps,
    noise_maps,
    reduced_method,
)
from lico_bench.metrics import Explainer, Metric, MetricInputs, resolve_metric
from lico_bench.records import MetricSpec
from lico_bench.saliency import MapCostInputs

ATOL_BATCH = 1e-4  # relative above 1; a batch of one may use another kernel
ATOL_BOUNDS = 1e-5
ATOL_SHARE = 1e-6  # rounding error where a method equals the oracle
ATOL_BLIND = 1e-5  # a map compared with itself
ATOL_IDEAL = 0.01  # resampling a transformed image costs a little
NOISE = "signed noise"
FLAT_MARGIN = 0.10  # of the gap between oracle and random map
NUM_EXPLAINED = 8  # images for metrics that compute new maps
MAX_FORWARDS = 4  # per map, of the methods checked with such metrics
MIN_CHANGE = 0.05  # distance of a real method from the value of a model-independent map
MIN_SENSITIVITY = 1e-3  # distance of an image-dependent method from the ideal value

Check = Callable[[Metric, Scene, Sequence[str]], Iterator[Finding]]


def contract_findings(metric: Metric, scene: Scene) -> Iterator[Finding]:
    """Check bounds, finite values, repeatability and independence of the batch."""
    name = metric.spec.name
    subset = scene.first()
    cases = {
        "oracle map": subset.oracle,
        NOISE: noise_maps(subset.images, subset.seed),
        "flat map": flat_maps(subset.images),
        "zero map": torch.zeros_like(subset.oracle),
    }
    values = {case: _values(metric, subset, case, maps) for case, maps in cases.items()}
    num_misshaped = sum(v.shape != (len(subset),) for v in values.values())
    yield at_most(name, "results without one number per image", num_misshaped, 0.0)
    if num_misshaped:
        return
    undefined = values["oracle map"].isnan()
    num_broken = {w: int((~v.isfinite() & ~undefined).sum()) for w, v in values.items()}
    yield at_most(
        name,
        "maps without a finite value",
        sum(num_broken.values()),
        0.0,
        detail=", ".join(w for w, count in num_broken.items() if count),
    )
    excess = {w: _excess(metric.spec, v) for w, v in values.items()}
    worst = max(excess, key=excess.__getitem__)
    detail = worst if excess[worst] else ""
    yield at_most(
        name, "excess over the declared bounds", excess[worst], ATOL_BOUNDS, detail=detail
    )
    noise = cases[NOISE]
    repeated = _values(metric, subset, "repeated noise", noise)
    change = difference(values[NOISE], repeated)
    yield at_most(name, "repeated call: change of the values", change, 0.0)
    rows = [
        _values(metric, scene.rows(i, i + 1), NOISE, noise[i : i + 1]) for i in range(len(subset))
    ]
    change = difference(values[NOISE], torch.cat(rows))
    yield at_most(name, "batch against single images: change of the values", change, ATOL_BATCH)


def rank_findings(metric: Metric, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """Check that oracle > methods > random map, and that a flat map is far below the oracle."""
    name, margins = metric.spec.name, margins_of(metric.spec, scene.variant)
    map_scores = MapScores.of(metric, scene)
    sign = -1 if metric.spec.higher_is_better is False else 1
    means = [sign * float(values.nanmean()) for values in (map_scores.oracle, map_scores.random)]
    yield at_least(
        name,
        "oracle beats the random map (effect)",
        effect_size(map_scores.oracle - map_scores.random),
        margins.effect,
        detail="oracle {:.3f}, random {:.3f}".format(*means),
        reason=margins.known,
    )
    merits = {method: merit(metric, scene.inputs_of(method)) for method in methods}
    kind = kind_of(metric.spec)
    # A method may exceed the oracle by its rounding error.
    upper = None if margins.oracle is None else 1 - margins.oracle + ATOL_SHARE
    for check, finding_of, limit in (
        ("lowest method (random 0, oracle 1)", at_least, margins.method),
        ("highest method (random 0, oracle 1)", at_most, upper),
    ):
        if limit is not None:
            yield from hardest(
                finding_of(
                    name, check, map_scores.above_random(values), limit,
                    detail=f"{method} {sign * float(values.nanmean()):.3f}",
                    reason=reason_for(method, name, kind),
                )
                for method, values in merits.items()
            )  # fmt: skip
    flat = merit(metric, scene.cached_inputs("flat", lambda: flat_maps(scene.images)))
    yield at_most(
        name,
        "flat map (random 0, oracle 1)",
        map_scores.above_random(flat),
        1 - FLAT_MARGIN,
        reason=margins.known,
    )


def model_dependence_findings(
    metric: Metric, scene: Scene, methods: Sequence[str]
) -> Iterator[Finding]:
    """A model-independent map has the worst value; real methods have another value."""
    name, subset = metric.spec.name, scene.first(NUM_EXPLAINED)
    worst = metric.spec.bounds[0 if metric.spec.higher_is_better else 1]
    if worst is None:
        return
    blind = metric.apply(_inputs_from(brightness_explainer, subset)).values
    yield at_most(
        name, "model-independent map: distance from the worst value",
        float((blind.double() - worst).abs().max()), ATOL_BLIND,
    )  # fmt: skip
    distances = {
        method: float((metric.apply(inputs).values.double() - worst).abs().mean())
        for method, inputs in _cheap_inputs(methods, subset)
    }
    yield from _distance_findings(name, "worst", distances, MIN_CHANGE)


def invariance_findings(metric: Metric, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """A map that no perturbation changes has the ideal value; a random map has a worse one."""
    name, subset = metric.spec.name, scene.first(NUM_EXPLAINED)
    invariant = [
        merit(metric, _inputs_from(explainer, subset))
        for explainer in (constant_explainer, brightness_explainer)
    ]
    best = max(invariant, key=lambda values: float(values.nanmean()))
    random = merit(metric, _inputs_from(reduced_method(RANDOM).maps, subset))
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
        method: abs(float(merit(metric, inputs).nanmean()) - sign * ideal)
        for method, inputs in _cheap_inputs(methods, subset)
    }
    yield from _distance_findings(name, "ideal", distances, MIN_SENSITIVITY)


def _distance_findings(
    name: str, value: str, distances: Mapping[str, float], limit: float
) -> Iterator[Finding]:
    """Check that the score of each method is at least `limit` away from a value."""
    check = f"method: distance from the {value} value"
    return hardest(
        at_least(name, check, distance, limit, detail=method, reason=reason_for(method, name))
        for method, distance in distances.items()
    )


def instance_findings(metric: Metric, scene: Scene, _methods: Sequence[str]) -> Iterator[Finding]:
    """Check that a map uniform over two instances beats a map that favours one of them."""
    halves = scene.inputs(scene.oracle).instances or ()
    uniform = torch.stack([masks.any(0) for masks in halves]).float()
    lopsided = torch.stack([masks[0] + 0.1 * masks[1] for masks in halves]).float()
    better, worse = (merit(metric, scene.inputs(maps)) for maps in (uniform, lopsided))
    yield at_least(
        metric.spec.name, "uniform map beats lopsided map over two instances (effect)",
        effect_size(better - worse),
        margins_of(metric.spec, scene.variant).effect,
        detail=f"uniform {float(better.nanmean()):.3f}, lopsided {float(worse.nanmean()):.3f}",
    )  # fmt: skip


def no_findings(_metric: Metric, _scene: Scene, _methods: Sequence[str]) -> Iterator[Finding]:
    """A descriptive metric ranks no maps, so there is nothing to check."""
    return iter(())


# The first matching predicate decides the check of a metric.
CHECKS: tuple[tuple[Callable[[MetricSpec], bool], Check], ...] = (
    (lambda spec: spec.category == "randomisation", model_dependence_findings),
    (lambda spec: "explainer" in spec.needs, invariance_findings),
    (lambda spec: "instances" in spec.needs, instance_findings),
    (lambda spec: spec.higher_is_better is None, no_findings),
    (lambda _spec: True, rank_findings),
)


def metric_findings(name: str, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """Findings of all checks that apply to the metric `name`."""
    metric = resolve_metric(name)
    yield from contract_findings(metric, scene)
    check = _check_of(metric.spec)
    yield from check(metric, scene, methods)
    if check is rank_findings and kind_of(metric.spec) == "perturbation":
        yield from closed_form_findings(metric)


def ranks_maps(name: str) -> bool:
    """Whether a metric ranks maps without computing new ones."""
    return _check_of(resolve_metric(name).spec) is rank_findings


def _check_of(spec: MetricSpec) -> Check:
    return next(check for applies, check in CHECKS if applies(spec))


def _inputs_from(explainer: Explainer, scene: Scene) -> MetricInputs:
    """Inputs with maps by `explainer`, which the metric may call again."""
    maps = explainer(scene.network, scene.images, scene.targets)
    return scene.inputs(maps, explainer=explainer)


def _cheap_inputs(methods: Sequence[str], scene: Scene) -> Iterator[tuple[str, MetricInputs]]:
    """Inputs of the methods whose maps cost at most MAX_FORWARDS forwards."""
    cost_inputs = MapCostInputs(channels=64, image_size=(32, 32))
    for name in methods:
        method = reduced_method(name)
        if method.cost(cost_inputs) <= MAX_FORWARDS:
            yield name, _inputs_from(method.maps, scene)


def _values(metric: Metric, scene: Scene, name: str, maps: Tensor) -> Tensor:
    """Metric values (N,) float64 of maps whose inputs are cached under `name`.

    Raises:
        InvalidInputError: if the metric modified the maps.
    """
    inputs = scene.cached_inputs(name, maps.clone, explainer=brightness_explainer)
    values = metric.apply(inputs).values.detach().double().cpu()
    if not torch.equal(inputs.maps, maps):
        inputs.maps.copy_(maps)
        raise InvalidInputError(
            f"{metric.spec.name}: it modified its input maps, which other metrics also read; "
            "work on a copy"
        )
    return values


def _excess(spec: MetricSpec, values: Tensor) -> float:
    """Largest distance of the finite values from the declared bounds."""
    low, high = spec.bounds
    defined = values[values.isfinite()]
    if len(defined) == 0:
        return 0.0
    below = 0.0 if low is None else low - float(defined.min())
    above = 0.0 if high is None else float(defined.max()) - high
    return max(below, above, 0.0)
