"""Can a method's maps be believed? Its contract, and maps of networks whose reason is known."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.evaluation.known_answers.finding import Finding, at_least, at_most
from lico_bench.evaluation.known_answers.map_pairs import map_scores_of, merit
from lico_bench.evaluation.known_answers.margins import (
    METHOD_LIMITS,
    kind_of,
    margins_of,
    reason_for,
)
from lico_bench.evaluation.known_answers.networks import colour_case, linear_case
from lico_bench.evaluation.known_answers.scene import Scene, cheaper
from lico_bench.metrics import resolve_metric
from lico_bench.registry import parse_call
from lico_bench.saliency import explain, resolve_method

ATOL_BATCH = 1e-4  # of the largest value: a batch of one may take another kernel
NUM_COLOUR = 6
NUM_LINEAR = 2
PEAK_REACH_PX = 2  # the explained layer of the colour network has cells of this side


def contract_findings(method: str, scene: Scene) -> Iterator[Finding]:
    """What every method promises, controls too: finite maps, repeatable, whatever the batch."""
    some = scene.first()
    whole = _maps(method, some.network, some)
    again = _maps(method, some.network, some)
    yield at_most(method, "the same call gives the same maps", _largest(whole - again), 0.0)
    alone = torch.cat(
        [
            explain(some.network, image[None], target[None], method=cheaper(method))
            for image, target in zip(some.images, some.targets, strict=True)
        ]
    )
    scale = max(_largest(whole), 1e-12)
    yield at_most(
        method, "a batch is its images one by one", _largest(whole - alone) / scale, ATOL_BATCH
    )
    yield at_most(method, "traces left in a model in training", _traces_left(method, some), 0.0)


def _traces_left(method: str, scene: Scene) -> int:
    """Tensors, flags, hooks and random states that are not as before, in a copy of the network."""
    model = copy.deepcopy(scene.network).train().requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.random.get_rng_state()
    _maps(method, model, scene)
    tensors = sum(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
    flags = sum(not module.training for module in model.modules())
    flags += sum(not p.requires_grad or p.grad is not None for p in model.parameters())
    hooks = sum(
        len(kind)
        for module in model.modules()
        for kind in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    )
    return tensors + flags + hooks + (not torch.equal(torch.random.get_rng_state(), random_state))


def reason_findings(method: str, scene: Scene) -> Iterator[Finding]:
    """Whether maps show the known reason: by the network, not by the image alone."""
    name, entry = parse_call(method)[0], resolve_method(method)[1]
    if entry.is_control:
        yield from _blind(method, scene)
        return
    limits = METHOD_LIMITS[scene.variant]
    maps = scene.maps(method)
    ranks = {
        control: float(rank_of_region(scene.maps(control), scene.regions).mean())
        for control in limits.reference_maps
    }
    best = max(ranks, key=ranks.__getitem__)
    yield _judged(
        method, "a pixel of the reason outranks another", rank_of_region(maps, scene.regions),
        ranks[best] + limits.rank, detail=f"best control: {best} {ranks[best]:.2f}",
    )  # fmt: skip
    oracle = energy_in_region(scene.oracle, scene.regions, is_signed=False)
    noise = energy_in_region(scene.maps("random_map"), scene.regions, is_signed=False)
    gap = float((oracle - noise).mean())
    yield _judged(
        method, "energy on the reason",
        energy_in_region(maps, scene.regions, is_signed=entry.is_signed),
        float(noise.mean()) + limits.energy * gap,
        detail=f"random map {float(noise.mean()):.2f}, oracle {float(oracle.mean()):.2f}",
    )  # fmt: skip
    some = scene.first(len(scene) // 2)
    other = _maps(method, some.stranger, some)
    yield at_most(
        method, "likeness to the maps of an untrained network",
        float(correlation(maps[: len(some)], other).mean()), limits.likeness,
        reason=reason_for(name, "likeness"),
    )  # fmt: skip
    yield from _colours(method, name, limits.colours)
    if not entry.needs_layer:
        yield from _linear(method, name, limits.linear[entry.family])


def score_findings(method: str, scene: Scene, metrics: Sequence[str]) -> Iterator[Finding]:
    """What metrics with an order of merit say of the method: better than noise."""
    name, entry = parse_call(method)[0], resolve_method(method)[1]
    if entry.is_control:
        return
    for metric_name in metrics:
        metric = resolve_metric(metric_name)
        relative_merit = map_scores_of(metric, scene).relative_merit(
            method, merit(metric, scene.inputs_of(method))
        )
        limit = margins_of(metric.spec, scene.variant).method
        if limit is None:
            continue
        yield at_least(
            method, f"in {metric_name} (random 0, reason 1)", relative_merit.above_random, limit,
            reason=reason_for(name, metric_name, kind_of(metric.spec)),
        )  # fmt: skip


def _judged(method: str, check: str, values: Tensor, limit: float, *, detail: str) -> Finding:
    name = parse_call(method)[0]
    return at_least(
        method, check, float(values.mean()), limit, detail=detail, reason=reason_for(name, check)
    )


def _blind(method: str, scene: Scene) -> Iterator[Finding]:
    some = scene.first()
    change = _maps(method, some.network, some) - _maps(method, some.stranger, some)
    yield at_most(method, "a control does not look at the model", _largest(change), 0.0)


def _colours(method: str, name: str, limit: float) -> Iterator[Finding]:
    """Asked for red, the map peaks on the red square; asked for green, on the green one."""
    case = colour_case(NUM_COLOUR)
    hits = []
    for colour, squares in enumerate(case.squares):
        targets = torch.full((NUM_COLOUR,), colour)
        maps = explain(case.network, case.images, targets, method=cheaper(method))
        hits.append(peaks_within(maps, squares, reach_px=PEAK_REACH_PX))
    check = "peaks on the colour that is asked for"
    share = float(torch.cat(hits).float().mean())
    yield at_least(method, check, share, limit, reason=reason_for(name, check))


def _linear(method: str, name: str, limit: float) -> Iterator[Finding]:
    case = linear_case(NUM_LINEAR, is_even=True)
    maps = explain(case.network, case.images, case.targets, method=cheaper(method))
    weight = case.network.weight.detach().expand_as(maps)
    check = "follows the weights of a linear model"
    found = float(correlation(maps, weight).mean())
    yield at_least(method, check, found, limit, reason=reason_for(name, check))


def rank_of_region(maps: Tensor, regions: Tensor) -> Tensor:
    """(N,) in [0, 1]: how often a pixel of the region has a larger value than one outside.

    The area under the ROC curve; equal values count half, so that a flat map has 0.5.
    """
    ranks = average_ranks(maps.flatten(1))
    inside = regions.flatten(1).double()
    count = inside.sum(1)
    below = (ranks * inside).sum(1) - count * (count - 1) / 2
    return below / (count * (inside.shape[1] - count))


def energy_in_region(maps: Tensor, regions: Tensor, *, is_signed: bool) -> Tensor:
    """(N,) in [0, 1]: share of the map's mass that lies on the region.

    Mass is the positive part of signed maps and what stands above the lowest value of others, so
    that a constant that a method adds everywhere does not count. A flat map has the region's area.
    """
    floor = torch.zeros_like(maps[:, :1, :1]) if is_signed else maps.amin((1, 2), keepdim=True)
    mass = (maps - floor).clamp_min(0).double()
    total = mass.sum((1, 2))
    mass = torch.where(total[:, None, None] > 0, mass, 1.0)
    return (mass * regions).sum((1, 2)) / mass.sum((1, 2))


def correlation(maps: Tensor, others: Tensor) -> Tensor:
    """(N,) Pearson correlation of pixels, in [-1, 1]; 0 where one of the two maps is flat."""
    first, second = (m.flatten(1).double() for m in (maps, others))
    first, second = (m - m.mean(1, keepdim=True) for m in (first, second))
    return F.cosine_similarity(first, second, dim=1, eps=1e-30)


def peaks_within(maps: Tensor, regions: Tensor, *, reach_px: int) -> Tensor:
    """(N,) bool: every pixel with the largest value lies on the region or within reach of it."""
    near = F.max_pool2d(regions.float()[:, None], 2 * reach_px + 1, 1, reach_px)[:, 0] > 0
    is_peak = maps == maps.amax((1, 2), keepdim=True)
    return ~(is_peak & ~near).flatten(1).any(1)


def average_ranks(values: Tensor) -> Tensor:
    """(N, P) float64 ranks from 0 up; equal values share the mean of their places."""
    ordered = values.sort(dim=1).values.contiguous()
    first = torch.searchsorted(ordered, values.contiguous())
    last = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (first + last - 1).double() / 2


def _maps(method: str, network: nn.Module, scene: Scene) -> Tensor:
    return explain(network, scene.images, scene.targets, method=cheaper(method))


def _largest(values: Tensor) -> float:
    return float(values.abs().max())
