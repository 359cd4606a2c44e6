"""Checks of metrics and methods: basic guarantees, and known rankings and explanations."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.evaluation.known_answers.finding import (
    MIN_EFFECT,
    PEAKS_CHECK,
    Finding,
    at_least,
    at_most,
    correlation,
    difference,
    effect_size,
    energy_in_region,
    hardest,
    kind_of,
    margins_of,
    merit,
    peaks_within,
    position,
    rank_of_region,
    reason_for,
)
from lico_bench.evaluation.known_answers.networks import (
    MAPS,
    closed_form_curves,
    closed_form_inputs,
    colour_case,
    linear_case,
)
from lico_bench.evaluation.known_answers.scene import (
    Scene,
    brightness_explainer,
    constant_explainer,
    noise_maps,
    reduced_method,
)
from lico_bench.metrics import Explainer, Metric, MetricInputs, resolve_metric
from lico_bench.records import MetricSpec
from lico_bench.registry import parse_call
from lico_bench.saliency import MapCostInputs, resolve_method

RANDOM = "random_map"
# Controls that a method must beat; objects of plain scenes are near the centre.
REFERENCE_MAPS = {"planted_cue": (RANDOM, "center_map", "edge_map"), "plain": (RANDOM,)}

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

MIN_RANK = 0.05  # excess of the ROC AUC of the region over the best control's
# Share of the gap between random map and oracle. Small because maps from masks have an offset;
# noise over 16 images stays below 0.01.
MIN_ENERGY = 0.05
MAX_LIKENESS = 0.8  # correlation with the maps of an untrained network; 1 if only the image counts
MIN_PEAKS = 0.9  # share of peaks on the square of the target colour
# Correlation with the weights of a linear network, by family: gradients equal the weights; masks
# blur them, and few masks are noisy.
MIN_LINEAR = {"gradient": 0.999, "perturbation": 0.3, "cam": 0.3}
NUM_COLOUR = 6
NUM_LINEAR = 2
PEAK_REACH_PX = 2  # the explained layer of the colour network has cells of this side

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
    oracle, random = _reference_merits(metric, scene)
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


def _reference_merits(metric: Metric, scene: Scene) -> tuple[Tensor, Tensor]:
    """Merit (N,) of the oracle and of the random map."""
    oracle = scene.inputs_of("oracle map", scene.oracle)
    return merit(metric, oracle), merit(metric, scene.inputs_of(RANDOM))


def _closed_form(metric: Metric) -> Iterator[Finding]:
    """All maps score equally on a constant network; contributions score best on a linear one."""
    constant = [merit(metric, closed_form_inputs("constant", maps)) for maps in MAPS]
    spread = max(difference(constant[0], values) for values in constant[1:])
    yield at_most("constant network: spread over maps", spread, ATOL_CONSTANT)
    best, middle, worst = (merit(metric, closed_form_inputs("linear", maps)) for maps in MAPS)
    for check, differences in (
        ("linear network: contributions beat noise (effect)", best - middle),
        ("linear network: noise beats negated contributions (effect)", middle - worst),
    ):
        yield at_least(check, effect_size(differences), MIN_EFFECT)
    if "curves" in metric.spec.needs:
        deviation = difference(best, merit(metric, closed_form_curves()))
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


def method_findings(method: str, scene: Scene, metrics: Sequence[str]) -> Iterator[Finding]:
    """Findings of the method `method`: its guarantees, its maps, and their scores by `metrics`.

    A control must not depend on the model. The maps of any other method must show the region that
    decides and depend on the network, and the metrics must score them above the random map.
    """
    yield from _method_contract(method, scene)
    if resolve_method(method)[1].is_control:
        subset = scene.first()
        change = subset.explain(method) - subset.explain(method, subset.untrained)
        yield at_most("control: change with the model", change.abs().max(), 0.0)
        return
    yield from _explanations(method, scene)
    for name in metrics:
        metric = resolve_metric(name)
        limit = margins_of(metric.spec, scene.variant).method
        if limit is not None:
            oracle, random = _reference_merits(metric, scene)
            values = merit(metric, scene.inputs_of(method))
            yield at_least(
                f"{name} (random 0, oracle 1)", position(values, random=random, oracle=oracle),
                limit, reason=reason_for(parse_call(method)[0], name, kind_of(metric.spec)),
            )  # fmt: skip


def _method_contract(method: str, scene: Scene) -> Iterator[Finding]:
    """Check repeatability, independence of the batch, and that the model is left unchanged."""
    subset = scene.first()
    batched, repeated = subset.explain(method), subset.explain(method)
    yield at_most("repeated call: change of the maps", (batched - repeated).abs().max(), 0.0)
    single = torch.cat([scene.rows(i, i + 1).explain(method) for i in range(len(subset))])
    change = float((batched - single).abs().max()) / max(float(batched.abs().max()), 1e-12)
    yield at_most("batch against single images: change of the maps", change, ATOL_BATCH)
    num_changes = _num_state_changes(method, subset)
    yield at_most("state changed in a model in training mode", num_changes, 0.0)


def _num_state_changes(method: str, scene: Scene) -> int:
    """Number of tensors, flags, hooks and random states that a call changes, on a model copy."""
    model = copy.deepcopy(scene.network).train().requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.random.get_rng_state()
    scene.explain(method, model)
    tensors = sum(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
    flags = sum(not module.training for module in model.modules())
    flags += sum(not p.requires_grad or p.grad is not None for p in model.parameters())
    hooks = sum(
        len(kind)
        for module in model.modules()
        for kind in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    )
    return tensors + flags + hooks + (not torch.equal(torch.random.get_rng_state(), random_state))


def _explanations(method: str, scene: Scene) -> Iterator[Finding]:
    """Check that maps show the region that decides, and that they depend on the network."""
    entry = resolve_method(method)[1]
    maps, regions = scene.maps(method), scene.regions
    ranks = {
        control: float(rank_of_region(scene.maps(control), regions).mean())
        for control in REFERENCE_MAPS[scene.variant]
    }
    best = max(ranks, key=ranks.__getitem__)
    yield at_least(
        "ROC AUC of the region", rank_of_region(maps, regions).mean(), ranks[best] + MIN_RANK,
        f"best control: {best} {ranks[best]:.2f}",
    )  # fmt: skip
    oracle = energy_in_region(scene.oracle, regions, is_signed=False)
    noise = energy_in_region(scene.maps(RANDOM), regions, is_signed=False)
    yield at_least(
        "energy on the region", energy_in_region(maps, regions, is_signed=entry.is_signed).mean(),
        float(noise.mean()) + MIN_ENERGY * float((oracle - noise).mean()),
        f"random map {float(noise.mean()):.2f}, oracle {float(oracle.mean()):.2f}",
    )  # fmt: skip
    subset = scene.first(len(scene) // 2)
    untrained = subset.explain(method, subset.untrained)
    yield at_most(
        "correlation with the maps of an untrained network",
        correlation(maps[: len(subset)], untrained).mean(), MAX_LIKENESS,
    )  # fmt: skip
    colours, explain = colour_case(NUM_COLOUR), reduced_method(method).maps
    hits = [
        peaks_within(
            explain(colours.network, colours.images, torch.full((NUM_COLOUR,), colour)),
            squares,
            reach_px=PEAK_REACH_PX,
        )
        for colour, squares in enumerate(colours.squares)
    ]
    yield at_least(PEAKS_CHECK, torch.cat(hits).float().mean(), MIN_PEAKS)
    if not entry.needs_layer:
        linear = linear_case(NUM_LINEAR, is_uniform=True)
        maps = explain(linear.network, linear.images, linear.targets)
        weight = linear.network.weight.detach().expand_as(maps)
        yield at_least(
            "correlation with the weights of a linear network",
            correlation(maps, weight).mean(), MIN_LINEAR[entry.family],
        )  # fmt: skip
