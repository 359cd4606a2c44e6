"""Can a metric be believed? It is sound, and it puts maps whose merit is known in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.evaluation.known_answers.closed_form import closed_form_findings
from lico_bench.evaluation.known_answers.explainer_checks import blind_findings, steady_findings
from lico_bench.evaluation.known_answers.finding import (
    Finding,
    at_least,
    at_most,
    hardest,
)
from lico_bench.evaluation.known_answers.map_pairs import (
    difference,
    effect_size,
    map_scores_of,
    merit,
)
from lico_bench.evaluation.known_answers.margins import kind_of, margins_of, reason_for
from lico_bench.evaluation.known_answers.reference_maps import (
    brightness_explainer,
    flat_maps,
    noise_maps,
)
from lico_bench.evaluation.known_answers.scene import Scene
from lico_bench.metrics import Metric, resolve_metric
from lico_bench.records import MetricSpec

ATOL_BATCH = 1e-4  # relative, where values pass 1: a batch of one may take another kernel
ATOL_BOUNDS = 1e-5
NOISE = "noise of both signs"
ATOL_SHARE = 1e-6  # of rounding, where a method reaches the oracle
FLAT_MARGIN = 0.10  # of the gap between oracle and random map

Check = Callable[[Metric, Scene, Sequence[str]], Iterator[Finding]]


def sound_findings(metric: Metric, scene: Scene) -> Iterator[Finding]:
    """What every metric promises: bounds, NaN only for images, no neighbours, repeatable."""
    name = metric.spec.name
    some = scene.first()
    cases = {
        "the reason": some.oracle,
        NOISE: noise_maps(some.images, some.seed),
        "a flat map": flat_maps(some.images),
        "a map of zeros": torch.zeros_like(some.oracle),
    }
    values = {what: _values(metric, some, what, maps) for what, maps in cases.items()}
    wrong = sum(v.shape != (len(some),) for v in values.values())
    yield at_most(name, "results that are not one number per image", wrong, 0.0)
    if wrong:
        return
    undefined = values["the reason"].isnan()
    broken = {w: int((~v.isfinite() & ~undefined).sum()) for w, v in values.items()}
    yield at_most(
        name,
        "maps without a finite value",
        sum(broken.values()),
        0.0,
        detail=", ".join(w for w, count in broken.items() if count),
    )
    excess = {w: _excess(metric.spec, v) for w, v in values.items()}
    worst = max(excess, key=excess.__getitem__)
    detail = worst if excess[worst] else ""
    yield at_most(
        name, "excess over the declared bounds", excess[worst], ATOL_BOUNDS, detail=detail
    )
    noise = cases[NOISE]
    again = _values(metric, some, "noise again", noise)
    change = difference(values[NOISE], again)
    yield at_most(name, "the same call gives the same values", change, 0.0)
    rows = [
        _values(metric, scene.rows(i, i + 1), NOISE, noise[i : i + 1]) for i in range(len(some))
    ]
    change = difference(values[NOISE], torch.cat(rows))
    yield at_most(name, "a batch is its images one by one", change, ATOL_BATCH)


def rank_findings(metric: Metric, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """Oracle above every method, every method above noise, a flat map far below the oracle."""
    name, margins = metric.spec.name, margins_of(metric.spec, scene.variant)
    map_scores = map_scores_of(metric, scene)
    sign = -1 if metric.spec.higher_is_better is False else 1
    ends = [sign * float(values.nanmean()) for values in (map_scores.oracle, map_scores.random)]
    yield at_least(
        name,
        "the reason beats the random map (effect)",
        effect_size(map_scores.oracle - map_scores.random),
        margins.effect,
        detail="oracle {:.3f}, random {:.3f}".format(*ends),
        reason=margins.known,
    )
    relative_merits = [
        map_scores.relative_merit(m, merit(metric, scene.inputs_of(m))) for m in methods
    ]
    kind = kind_of(metric.spec)
    for check, make, limit in (
        ("lowest method (random 0, reason 1)", at_least, margins.method),
        ("highest method (random 0, reason 1)", at_most, _most(margins.oracle)),
    ):
        if limit is not None:
            yield from hardest(
                make(
                    name, check, s.above_random, limit,
                    detail=f"{s.method} {sign * s.mean:.3f}",
                    reason=reason_for(s.method, name, kind),
                )
                for s in relative_merits
            )  # fmt: skip
    flat = merit(metric, scene.kept_inputs("flat", lambda: flat_maps(scene.images)))
    relative_merit = map_scores.relative_merit("flat map", flat)
    check, limit = "a flat map (random 0, reason 1)", 1 - FLAT_MARGIN
    yield at_most(name, check, relative_merit.above_random, limit, reason=margins.known)


def _most(margin: float | None) -> float | None:
    return None if margin is None else 1 - margin + ATOL_SHARE


def instance_findings(metric: Metric, scene: Scene, _methods: Sequence[str]) -> Iterator[Finding]:
    """A map even over two instances is better than one that shows one of them."""
    halves = scene.inputs(scene.oracle).instances or ()
    even = torch.stack([masks.any(0) for masks in halves]).float()
    lopsided = torch.stack([masks[0] + 0.1 * masks[1] for masks in halves]).float()
    better, worse = (merit(metric, scene.inputs(maps)) for maps in (even, lopsided))
    yield at_least(
        metric.spec.name, "two even instances beat one (effect)", effect_size(better - worse),
        margins_of(metric.spec, scene.variant).effect,
        detail=f"even {float(better.nanmean()):.3f}, lopsided {float(worse.nanmean()):.3f}",
    )  # fmt: skip


def nothing_more(_metric: Metric, _scene: Scene, _methods: Sequence[str]) -> Iterator[Finding]:
    """A descriptive metric has no order of merit to keep."""
    return iter(())


# The first fact that a spec has decides what is asked of it.
QUESTIONS: tuple[tuple[Callable[[MetricSpec], bool], Check], ...] = (
    (lambda spec: spec.category == "randomisation", blind_findings),
    (lambda spec: "explainer" in spec.needs, steady_findings),
    (lambda spec: "instances" in spec.needs, instance_findings),
    (lambda spec: spec.higher_is_better is None, nothing_more),
    (lambda _spec: True, rank_findings),
)


def metric_findings(name: str, scene: Scene, methods: Sequence[str]) -> Iterator[Finding]:
    """All that is known to be asked of the metric called `name`."""
    metric = resolve_metric(name)
    yield from sound_findings(metric, scene)
    ask = next(check for applies, check in QUESTIONS if applies(metric.spec))
    yield from ask(metric, scene, methods)
    if ask is rank_findings and kind_of(metric.spec) == "perturbation":
        yield from closed_form_findings(metric)


def ranks_maps(name: str) -> bool:
    """Whether a metric has an order of merit for maps alone."""
    spec = resolve_metric(name).spec
    return next(check for applies, check in QUESTIONS if applies(spec)) is rank_findings


def _values(metric: Metric, scene: Scene, what: str, maps: Tensor) -> Tensor:
    """(N,) float64 of maps that are kept under a name, explained anew by their brightness.

    Raises:
        InvalidInputError: if the metric wrote into the maps.
    """
    inputs = scene.kept_inputs(what, maps.clone)
    inputs.explainer = brightness_explainer
    values = metric.compute(inputs).detach().double().cpu()
    if not torch.equal(inputs.maps, maps):
        inputs.maps.copy_(maps)
        raise InvalidInputError(
            f"{metric.spec.name}: it changed the maps that it was given, which other metrics "
            "look at too; work on a copy"
        )
    return values


def _excess(spec: MetricSpec, values: Tensor) -> float:
    low, high = spec.bounds
    defined = values[values.isfinite()]
    if len(defined) == 0:
        return 0.0
    below = 0.0 if low is None else low - float(defined.min())
    above = 0.0 if high is None else float(defined.max()) - high
    return max(below, above, 0.0)
