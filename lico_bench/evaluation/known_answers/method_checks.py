"""Check saliency methods: their contract, and maps of networks with a known explanation."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.evaluation.known_answers.finding import Finding, MapScores, at_least, at_most, merit
from lico_bench.evaluation.known_answers.margins import (
    METHOD_LIMITS,
    PEAKS_CHECK,
    kind_of,
    margins_of,
    reason_for,
)
from lico_bench.evaluation.known_answers.networks import colour_case, linear_case
from lico_bench.evaluation.known_answers.scene import Scene, reduced_method
from lico_bench.metrics import resolve_metric
from lico_bench.registry import parse_call
from lico_bench.saliency import resolve_method

ATOL_BATCH = 1e-4  # of the largest value; a batch of one may use another kernel
NUM_COLOUR = 6
NUM_LINEAR = 2
PEAK_REACH_PX = 2  # the explained layer of the colour network has cells of this side


def contract_findings(method: str, scene: Scene) -> Iterator[Finding]:
    """Check repeatability, independence of the batch, and that the model is left unchanged."""
    subset = scene.first()
    batched = subset.explain(method)
    repeated = subset.explain(method)
    yield at_most(method, "repeated call: change of the maps", _largest(batched - repeated), 0.0)
    single = torch.cat(
        [
            reduced_method(method).maps(subset.network, image[None], target[None])
            for image, target in zip(subset.images, subset.targets, strict=True)
        ]
    )
    scale = max(_largest(batched), 1e-12)
    yield at_most(
        method,
        "batch against single images: change of the maps",
        _largest(batched - single) / scale,
        ATOL_BATCH,
    )
    yield at_most(
        method, "state changed in a model in training mode", _num_state_changes(method, subset), 0.0
    )


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


def explanation_findings(method: str, scene: Scene) -> Iterator[Finding]:
    """Check that maps show the region that decides, and that they depend on the network."""
    name, entry = parse_call(method)[0], resolve_method(method)[1]
    if entry.is_control:
        yield from _control_findings(method, scene)
        return
    limits = METHOD_LIMITS[scene.variant]
    maps = scene.maps(method)
    ranks = {
        control: float(rank_of_region(scene.maps(control), scene.regions).mean())
        for control in limits.reference_maps
    }
    best = max(ranks, key=ranks.__getitem__)
    yield _mean_finding(
        method, "ROC AUC of the region", rank_of_region(maps, scene.regions),
        ranks[best] + limits.rank, detail=f"best control: {best} {ranks[best]:.2f}",
    )  # fmt: skip
    oracle = energy_in_region(scene.oracle, scene.regions, is_signed=False)
    noise = energy_in_region(scene.maps("random_map"), scene.regions, is_signed=False)
    gap = float((oracle - noise).mean())
    yield _mean_finding(
        method, "energy on the region",
        energy_in_region(maps, scene.regions, is_signed=entry.is_signed),
        float(noise.mean()) + limits.energy * gap,
        detail=f"random map {float(noise.mean()):.2f}, oracle {float(oracle.mean()):.2f}",
    )  # fmt: skip
    subset = scene.first(len(scene) // 2)
    untrained = subset.explain(method, subset.untrained)
    yield at_most(
        method, "correlation with the maps of an untrained network",
        float(correlation(maps[: len(subset)], untrained).mean()), limits.likeness,
        reason=reason_for(name, "likeness"),
    )  # fmt: skip
    yield from _colour_findings(method, name, limits.colours)
    if not entry.needs_layer:
        yield from _linear_findings(method, name, limits.linear[entry.family])


def score_findings(method: str, scene: Scene, metrics: Sequence[str]) -> Iterator[Finding]:
    """Check that metrics which rank maps score the method above the random map."""
    name, entry = parse_call(method)[0], resolve_method(method)[1]
    if entry.is_control:
        return
    for metric_name in metrics:
        metric = resolve_metric(metric_name)
        values = merit(metric, scene.inputs_of(method))
        above_random = MapScores.of(metric, scene).above_random(values)
        limit = margins_of(metric.spec, scene.variant).method
        if limit is None:
            continue
        yield at_least(
            method, f"{metric_name} (random 0, oracle 1)", above_random, limit,
            reason=reason_for(name, metric_name, kind_of(metric.spec)),
        )  # fmt: skip


def _mean_finding(method: str, check: str, values: Tensor, limit: float, *, detail: str) -> Finding:
    name = parse_call(method)[0]
    return at_least(
        method, check, float(values.mean()), limit, detail=detail, reason=reason_for(name, check)
    )


def _control_findings(method: str, scene: Scene) -> Iterator[Finding]:
    subset = scene.first()
    change = subset.explain(method) - subset.explain(method, subset.untrained)
    yield at_most(method, "control: change with the model", _largest(change), 0.0)


def _colour_findings(method: str, name: str, limit: float) -> Iterator[Finding]:
    """Check that the map peaks on the square of the target colour."""
    case = colour_case(NUM_COLOUR)
    hits = []
    for colour, squares in enumerate(case.squares):
        targets = torch.full((NUM_COLOUR,), colour)
        maps = reduced_method(method).maps(case.network, case.images, targets)
        hits.append(peaks_within(maps, squares, reach_px=PEAK_REACH_PX))
    share = float(torch.cat(hits).float().mean())
    yield at_least(method, PEAKS_CHECK, share, limit, reason=reason_for(name, PEAKS_CHECK))


def _linear_findings(method: str, name: str, limit: float) -> Iterator[Finding]:
    case = linear_case(NUM_LINEAR, is_uniform=True)
    maps = reduced_method(method).maps(case.network, case.images, case.targets)
    weight = case.network.weight.detach().expand_as(maps)
    check = "correlation with the weights of a linear network"
    measured = float(correlation(maps, weight).mean())
    yield at_least(method, check, measured, limit, reason=reason_for(name, check))


def rank_of_region(maps: Tensor, regions: Tensor) -> Tensor:
    """ROC AUC (N,) of map values as a predictor of the region, in [0, 1].

    It is the probability that a pixel inside has a larger value than one outside; ties count half,
    so that a flat map has 0.5.
    """
    ranks = average_ranks(maps.flatten(1))
    inside = regions.flatten(1).double()
    count = inside.sum(1)
    below = (ranks * inside).sum(1) - count * (count - 1) / 2
    return below / (count * (inside.shape[1] - count))


def energy_in_region(maps: Tensor, regions: Tensor, *, is_signed: bool) -> Tensor:
    """Share (N,) of the map's mass on the region, in [0, 1].

    Mass is the positive part of a signed map, and the value above the minimum of other maps, so
    that a constant offset does not count. A flat map scores the region's share of the area.
    """
    floor = torch.zeros_like(maps[:, :1, :1]) if is_signed else maps.amin((1, 2), keepdim=True)
    mass = (maps - floor).clamp_min(0).double()
    total = mass.sum((1, 2))
    mass = torch.where(total[:, None, None] > 0, mass, 1.0)
    return (mass * regions).sum((1, 2)) / mass.sum((1, 2))


def correlation(maps: Tensor, others: Tensor) -> Tensor:
    """Pearson correlation (N,) of the pixels, in [-1, 1]; 0 if one of the maps is flat."""
    first, second = (m.flatten(1).double() for m in (maps, others))
    first, second = (m - m.mean(1, keepdim=True) for m in (first, second))
    return F.cosine_similarity(first, second, dim=1, eps=1e-30)


def peaks_within(maps: Tensor, regions: Tensor, *, reach_px: int) -> Tensor:
    """(N,) bool: whether all pixels with the maximum lie within `reach_px` of the region."""
    near = F.max_pool2d(regions.float()[:, None], 2 * reach_px + 1, 1, reach_px)[:, 0] > 0
    is_peak = maps == maps.amax((1, 2), keepdim=True)
    return ~(is_peak & ~near).flatten(1).any(1)


def average_ranks(values: Tensor) -> Tensor:
    """Ranks (N, P) float64 from 0; equal values share their mean rank."""
    ordered = values.sort(dim=1).values.contiguous()
    first = torch.searchsorted(ordered, values.contiguous())
    last = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (first + last - 1).double() / 2


def _largest(values: Tensor) -> float:
    return float(values.abs().max())
