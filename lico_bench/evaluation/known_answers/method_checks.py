"""Checks of saliency methods: basic guarantees, and known explanations."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch

from lico_bench.evaluation.known_answers.cases import (
    Scene,
    colour_case,
    linear_case,
    reduced_method,
)
from lico_bench.evaluation.known_answers.finding import (
    PEAKS_CHECK,
    Finding,
    at_least,
    at_most,
    correlation,
    energy_in_region,
    kind_of,
    margins_of,
    merit,
    peaks_within,
    position,
    rank_of_region,
    reason_for,
)
from lico_bench.evaluation.known_answers.metric_checks import ATOL_BATCH, RANDOM, reference_merits
from lico_bench.metrics import resolve_metric
from lico_bench.registry import parse_call
from lico_bench.saliency import resolve_method

# Controls that a method must beat; objects of plain scenes are near the centre.
REFERENCE_MAPS = {"planted_cue": (RANDOM, "center_map", "edge_map"), "plain": (RANDOM,)}

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
            oracle, random = reference_merits(metric, scene)
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
