"""Check metrics: basic guarantees, and the ranking of maps whose order is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lico_bench.errors import InvalidInputError
from lico_bench.evaluation.known_answers.closed_form import closed_form_findings
from lico_bench.evaluation.known_answers.explainer_checks import (
    invariance_findings,
    model_dependence_findings,
)
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

ATOL_BATCH = 1e-4  # relative above 1; a batch of one may use another kernel
ATOL_BOUNDS = 1e-5
NOISE = "signed noise"
ATOL_SHARE = 1e-6  # rounding error where a method equals the oracle
FLAT_MARGIN = 0.10  # of the gap between oracle and random map

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
    map_scores = map_scores_of(metric, scene)
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
    relative_merits = [
        map_scores.relative_merit(m, merit(metric, scene.inputs_of(m))) for m in methods
    ]
    kind = kind_of(metric.spec)
    for check, finding_of, limit in (
        ("lowest method (random 0, oracle 1)", at_least, margins.method),
        ("highest method (random 0, oracle 1)", at_most, _upper_limit(margins.oracle)),
    ):
        if limit is not None:
            yield from hardest(
                finding_of(
                    name, check, s.above_random, limit,
                    detail=f"{s.method} {sign * s.mean:.3f}",
                    reason=reason_for(s.method, name, kind),
                )
                for s in relative_merits
            )  # fmt: skip
    flat = merit(metric, scene.cached_inputs("flat", lambda: flat_maps(scene.images)))
    relative_merit = map_scores.relative_merit("flat map", flat)
    check, limit = "flat map (random 0, oracle 1)", 1 - FLAT_MARGIN
    yield at_most(name, check, relative_merit.above_random, limit, reason=margins.known)


def _upper_limit(margin: float | None) -> float | None:
    return None if margin is None else 1 - margin + ATOL_SHARE


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


def _values(metric: Metric, scene: Scene, name: str, maps: Tensor) -> Tensor:
    """Metric values (N,) float64 of maps whose inputs are cached under `name`.

    Raises:
        InvalidInputError: if the metric modified the maps.
    """
    inputs = scene.cached_inputs(name, maps.clone)
    inputs.explainer = brightness_explainer
    values = metric.compute(inputs).detach().double().cpu()
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
