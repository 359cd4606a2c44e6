"""Checks of metrics: basic guarantees, known rankings, and curves in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.evaluation.known_answers.cases import (
    SIZE,
    LinearCase,
    LinearNetwork,
    Scene,
    brightness_explainer,
    constant_explainer,
    linear_case,
    noise_maps,
    reduced_method,
)
from lico_bench.evaluation.known_answers.finding import (
    MIN_EFFECT,
    Finding,
    at_least,
    at_most,
    difference,
    effect_size,
    hardest,
    kind_of,
    margins_of,
    merit,
    position,
    reason_for,
)
from lico_bench.metrics import (
    PROTOCOLS,
    Curves,
    Explainer,
    Metric,
    MetricInputs,
    area_under,
    resolve_metric,
)
from lico_bench.metrics.insertion_deletion import SHARED_NAMES
from lico_bench.metrics.perturbation import insertion_baseline
from lico_bench.records import IMAGENET_MEAN, MetricSpec
from lico_bench.saliency import MapCostInputs

RANDOM = "random_map"
ATOL_BATCH = 1e-4  # relative; a batch of one may use another kernel
ATOL_BOUNDS = 1e-5
ATOL_SHARE = 1e-6  # rounding error where a method equals the oracle
ATOL_BLIND = 1e-5  # a map compared with itself
ATOL_IDEAL = 0.01  # resampling a transformed image costs a little
ATOL_CONSTANT = 1e-5
ATOL_CURVES = 1e-4  # sums of 3,072 products in float32, through a logistic function
FLAT_MARGIN = 0.10  # of the gap between oracle and random map
NUM_EXPLAINED = 8  # images for metrics that compute new maps
MAX_FORWARDS = 4  # per map, of the methods checked with such metrics
MIN_CHANGE = 0.05  # distance of a real method from the value of a model-independent map
MIN_SENSITIVITY = 1e-3  # distance of an image-dependent method from the ideal value

NUM_LINEAR = 8  # images of the linear network
PROTOCOL = PROTOCOLS["lico_bench_1"]
MAPS = ("contributions", "noise", "negated")  # of the linear network, from best to worst

Check = Callable[[Metric, Scene, Sequence[str]], Iterator[Finding]]


def metric_findings(name: str, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """Findings of all checks that apply to the metric `name`."""
    metric = resolve_metric(name)
    yield from _metric_contract(metric, scene)
    check = _check_of(metric.spec)
    if check is not None:
        yield from check(metric, scene, methods)
    if check is _ranking and kind_of(metric.spec) == "perturbation":
        yield from _closed_form(metric)


def ranks_maps(name: str) -> bool:
    """Whether a metric ranks maps without computing new ones."""
    return _check_of(resolve_metric(name).spec) is _ranking


def _check_of(spec: MetricSpec) -> Check | None:
    """The check of a metric's answers; None for a descriptive metric, which ranks no maps."""
    if spec.category == "randomisation":
        return _model_dependence
    if "explainer" in spec.needs:
        return _invariance
    if "instances" in spec.needs:
        return _instances
    return None if spec.higher_is_better is None else _ranking


def _metric_contract(metric: Metric, scene: Scene) -> Iterator[Finding]:
    """Check bounds, finite values, repeatability and independence of the batch."""
    subset = scene.first()
    noise = noise_maps(subset.images, subset.seed)
    cases = {
        "oracle map": subset.oracle,
        "signed noise": noise,
        "flat map": torch.ones_like(noise),
        "zero map": torch.zeros_like(noise),
    }
    values = {case: _values(metric, subset, case, maps) for case, maps in cases.items()}
    num_misshaped = sum(v.shape != (len(subset),) for v in values.values())
    yield at_most("results without one number per image", num_misshaped, 0.0)
    if num_misshaped:
        return
    undefined = values["oracle map"].isnan()
    num_broken = {case: int((~v.isfinite() & ~undefined).sum()) for case, v in values.items()}
    broken = ", ".join(case for case, count in num_broken.items() if count)
    yield at_most("maps without a finite value", sum(num_broken.values()), 0.0, broken)
    excess = {case: _excess(metric.spec, v) for case, v in values.items()}
    worst = max(excess, key=excess.__getitem__)
    yield at_most(
        "excess over the declared bounds",
        excess[worst],
        ATOL_BOUNDS,
        worst if excess[worst] else "",
    )
    batched = values["signed noise"]
    change = difference(batched, _values(metric, subset, "repeated noise", noise))
    yield at_most("repeated call: change of the values", change, 0.0)
    single = [
        _values(metric, scene.rows(i, i + 1), "signed noise", noise[i : i + 1])
        for i in range(len(subset))
    ]
    change = difference(batched, torch.cat(single))
    yield at_most("batch against single images: change of the values", change, ATOL_BATCH)


def _values(metric: Metric, scene: Scene, name: str, maps: Tensor) -> Tensor:
    """Metric values (N,) float64 of maps whose inputs are cached under `name`.

    Raises:
        InvalidInputError: if the metric modified the maps.
    """
    inputs = scene.inputs_of(name, maps.clone(), explainer=brightness_explainer)
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
    low, high = (
        limit if bound is None else bound
        for bound, limit in zip(spec.bounds, (-math.inf, math.inf), strict=True)
    )
    defined = values[values.isfinite()]
    return float((defined - defined.clamp(low, high)).abs().max()) if len(defined) else 0.0


def _ranking(metric: Metric, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """Check that oracle > methods > random map, and that a flat map is far below the oracle."""
    margins = margins_of(metric.spec, scene.variant)
    oracle, random = reference_merits(metric, scene)
    sign = -1 if metric.spec.higher_is_better is False else 1
    means = [sign * float(values.nanmean()) for values in (oracle, random)]
    yield at_least(
        "oracle beats the random map (effect)", effect_size(oracle - random), margins.effect,
        "oracle {:.3f}, random {:.3f}".format(*means), margins.known,
    )  # fmt: skip
    merits = {method: merit(metric, scene.inputs_of(method)) for method in methods}
    # A method may exceed the oracle by its rounding error.
    upper = None if margins.oracle is None else 1 - margins.oracle + ATOL_SHARE
    for check, finding_of, limit in (
        ("lowest method (random 0, oracle 1)", at_least, margins.method),
        ("highest method (random 0, oracle 1)", at_most, upper),
    ):
        if limit is not None:
            yield from hardest(
                finding_of(
                    check, position(values, random=random, oracle=oracle), limit,
                    f"{method} {sign * float(values.nanmean()):.3f}",
                    reason_for(method, metric.spec.name, kind_of(metric.spec)),
                )
                for method, values in merits.items()
            )  # fmt: skip
    flat = merit(metric, scene.inputs_of("flat", torch.ones_like(scene.oracle)))
    yield at_most(
        "flat map (random 0, oracle 1)", position(flat, random=random, oracle=oracle),
        1 - FLAT_MARGIN, reason=margins.known,
    )  # fmt: skip


def reference_merits(metric: Metric, scene: Scene) -> tuple[Tensor, Tensor]:
    """Merit (N,) of the oracle and of the random map."""
    oracle = scene.inputs_of("oracle map", scene.oracle)
    return merit(metric, oracle), merit(metric, scene.inputs_of(RANDOM))


def _closed_form(metric: Metric) -> Iterator[Finding]:
    """All maps score equally on a constant network; contributions score best on a linear one."""
    constant = [merit(metric, _closed_form_inputs("constant", maps)) for maps in MAPS]
    spread = max(difference(constant[0], values) for values in constant[1:])
    yield at_most("constant network: spread over maps", spread, ATOL_CONSTANT)
    best, middle, worst = (merit(metric, _closed_form_inputs("linear", maps)) for maps in MAPS)
    for check, differences in (
        ("linear network: contributions beat noise (effect)", best - middle),
        ("linear network: noise beats negated contributions (effect)", middle - worst),
    ):
        yield at_least(check, effect_size(differences), MIN_EFFECT)
    if "curves" in metric.spec.needs:
        deviation = difference(best, merit(metric, _closed_form_curves()))
        yield at_most("linear network: deviation from the closed form", deviation, ATOL_CURVES)


def _model_dependence(metric: Metric, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """A model-independent map has the worst value; real methods have another value."""
    subset = scene.first(NUM_EXPLAINED)
    worst = metric.spec.bounds[0 if metric.spec.higher_is_better else 1]
    if worst is None:
        return
    blind = metric.apply(_inputs_from(brightness_explainer, subset)).values
    distance = (blind.double() - worst).abs().max()
    yield at_most("model-independent map: distance from the worst value", distance, ATOL_BLIND)
    distances = {
        method: float((metric.apply(inputs).values.double() - worst).abs().mean())
        for method, inputs in _cheap_inputs(methods, subset)
    }
    yield from _distances(metric, "worst", distances, MIN_CHANGE)


def _invariance(metric: Metric, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """A map that no perturbation changes has the ideal value; a random map has a worse one."""
    subset = scene.first(NUM_EXPLAINED)
    invariant = [
        merit(metric, _inputs_from(explainer, subset))
        for explainer in (constant_explainer, brightness_explainer)
    ]
    best = max(invariant, key=lambda values: float(values.nanmean()))
    random = merit(metric, _inputs_from(reduced_method(RANDOM).maps, subset))
    yield at_least(
        "invariant map beats the random map (effect)", effect_size(best - random),
        margins_of(metric.spec, scene.variant).effect,
        f"means {abs(float(best.nanmean())):.3f}, {abs(float(random.nanmean())):.3f}",
    )  # fmt: skip
    ideal = metric.spec.bounds[1 if metric.spec.higher_is_better else 0]
    if ideal is None:
        return
    ideal_merit = ideal if metric.spec.higher_is_better else -ideal
    distance = abs(float(best.nanmean()) - ideal_merit)
    yield at_most("invariant map: distance from the ideal value", distance, ATOL_IDEAL)
    distances = {
        method: abs(float(merit(metric, inputs).nanmean()) - ideal_merit)
        for method, inputs in _cheap_inputs(methods, subset)
    }
    yield from _distances(metric, "ideal", distances, MIN_SENSITIVITY)


def _distances(
    metric: Metric, value: str, distances: Mapping[str, float], limit: float
) -> Iterator[Finding]:
    """Check that the score of each method is at least `limit` away from a value."""
    check = f"method: distance from the {value} value"
    return hardest(
        at_least(check, distance, limit, method, reason_for(method, metric.spec.name))
        for method, distance in distances.items()
    )


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


def _instances(metric: Metric, scene: Scene, _methods: Sequence[str]) -> Iterator[Finding]:
    """Check that a map uniform over two instances beats a map that favours one of them."""
    halves = scene.inputs(scene.oracle).instances or ()
    uniform = torch.stack([masks.any(0) for masks in halves]).float()
    lopsided = torch.stack([masks[0] + 0.1 * masks[1] for masks in halves]).float()
    better, worse = (merit(metric, scene.inputs(maps)) for maps in (uniform, lopsided))
    yield at_least(
        "uniform map beats lopsided map over two instances (effect)", effect_size(better - worse),
        margins_of(metric.spec, scene.variant).effect,
        f"uniform {float(better.nanmean()):.3f}, lopsided {float(worse.nanmean()):.3f}",
    )  # fmt: skip


@lru_cache(maxsize=1)
def _case() -> LinearCase:
    return linear_case(NUM_LINEAR, is_uniform=False)


@lru_cache(maxsize=1)
def _baselines() -> dict[str, Tensor]:
    """End state of deletion and start state of insertion, (1 or N, 3, H, W)."""
    fill = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    return {"fill": fill, "blur": insertion_baseline(_case().images, PROTOCOL, fill=fill)}


@lru_cache(maxsize=8)
def _closed_form_inputs(network: str, maps: str) -> MetricInputs:
    """Inputs for a network and maps by name; cached because metrics share costly results.

    Args:
        network: `linear`, or `constant` with the images and maps of the linear one.
        maps: one of `MAPS`, from best to worst.
    """
    case = _case()
    contributions = case.network.contributions(case.images, _baselines()["fill"])
    maps_by_name = {
        "contributions": contributions,
        "noise": noise_maps(case.images, 0),
        "negated": -contributions,
    }
    constant = LinearNetwork(torch.zeros(SIZE, SIZE), bias=0.7).eval()
    model = {"linear": case.network, "constant": constant}[network]
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
        mean_rgb=IMAGENET_MEAN,
    )


@lru_cache(maxsize=1)
def _closed_form_curves() -> MetricInputs:
    """Inputs of the linear network's contributions with curves computed in closed form."""
    inputs = replace(_closed_form_inputs("linear", "contributions"))
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
        with torch.no_grad():
            logit = case.network(first.double())[:, 1:]
        scores[name] = torch.sigmoid(logit + sign * sums).float()
    fractions = counts / num_pixels
    return Curves(
        fractions=fractions,
        insertion=scores["blur"],
        deletion=scores["fill"],
        insertion_auc=area_under(scores["blur"], fractions),
        deletion_auc=area_under(scores["fill"], fractions),
        forwards=0,
    )
