"""Tests whether a map changes with randomised parameters of the network, or with the class.

The parameters are randomised cumulatively, stage by stage from the output to the input, and every
image is explained after each stage. The maps of a method that explains the network change; those of
an edge detector stay the same. For `random_logit`, the target becomes another class.

Source: Adebayo et al., NeurIPS 2018, cascading randomisation; Sixt et al., ICML 2020.
Quantus is not used: its MPRT seeds the global generators (every layer with the same seed), computes
a map for each layer of the network, and has no value for a flat map; its random logit seeds NumPy's
global state, draws the other class by the position of an image in its batch, and computes the
structural similarity of flattened rows.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.checks import check_choice, check_count
from lico_bench.errors import InvalidInputError
from lico_bench.metrics.metric import Curve, MetricCost, MetricInputs, add_metric
from lico_bench.models import logits_of, scoring
from lico_bench.runtime import make_generator, seeded

TRAINED = "trained"  # the cascade starts with the trained network
ROOT_STAGE = "model"  # name of a stage of parameters that belong to the network itself
SIMILARITIES = ("spearman", "ssim")
WINDOW_PX = 7
STABILISERS = (0.01**2, 0.03**2)  # C1 and C2 of structural similarity, for values in [0, 1]
Stage = tuple[str, ...]

_add = partial(
    add_metric,
    higher_is_better=None,
    needs=("maps", "explainer", "network"),
    category="randomisation",
    cost="explains",
)


def cascade_curve(
    inputs: MetricInputs, *, stages: int = 8, similarity: str = "spearman"
) -> tuple[Curve, ...]:
    """The similarities of the cascade over the share of randomised stages."""
    names, values = cascade(inputs, stages=stages, similarity=similarity)
    return (Curve("cascade", torch.linspace(0, 1, len(names)), values),)


@_add(
    "sanity_check",
    title="Sanity check",
    bounds=(0.0, 1.0),
    unit="rank correlation",
    source="Adebayo et al., NeurIPS 2018",
    cost_of=lambda _protocol, *, stages=8, **_: MetricCost(explains=stages),
    curves=cascade_curve,
    pitfalls="a gate, not a ranking: near 1 the method does not explain the network; low values "
    "are necessary but not sufficient, noise scores 0; smooth maps of few cells are "
    "similar by chance (0.1 to 0.5); uses one draw of the random weights",
)
def sanity_check(inputs: MetricInputs, *, stages: int = 8, similarity: str = "spearman") -> Tensor:
    """Absolute similarity to the map of the fully randomised network, (N,) in [0, 1].

    Args:
        stages: maximum number of stages; each costs a map.
        similarity: `spearman` or `ssim`, see `similarity_of`; both are defined for flat maps.

    Raises:
        InvalidInputError: without a network, or if the network has no parameters.

    Source: Adebayo et al., NeurIPS 2018.
    Differs: neighbouring layers form a stage; a module is initialised again (`reset_parameters`,
    running statistics included), with the same draw for every image and arm.
    """
    return cascade(inputs, stages=stages, similarity=similarity)[1][:, -1].abs()


def cascade(
    inputs: MetricInputs, *, stages: int = 8, similarity: str = "spearman"
) -> tuple[tuple[str, ...], Tensor]:
    """Signed similarity to the map of each stage of the cascade; computed once.

    Returns:
        The names of the stages, `trained` first, and (N, stages + 1) values, which start at 1.
    """
    check_count("stages", stages)
    if inputs.network is None:
        raise InvalidInputError(
            "sanity_check: expected the explained network, got only maps; "
            "pass network= and explainer= to MetricInputs"
        )
    network = inputs.network

    def compute() -> tuple[tuple[str, ...], Tensor]:
        names, values = [TRAINED], [torch.ones_like(inputs.maps[:, 0, 0])]
        for name, changed in randomised(network, stages=stages, seed=inputs.seed):
            new_maps = inputs.explain(inputs.images, inputs.targets, network=changed)
            names.append(name)
            values.append(similarity_of(inputs.maps, new_maps.to(inputs.maps), similarity))
        return tuple(names), torch.stack(values, 1)

    return inputs.shared.once(f"cascade:{stages}:{similarity}", compute)


def randomised(network: nn.Module, *, stages: int, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Randomise a copy of `network` cumulatively, from the output to the input.

    Yields:
        The name of each stage and the copy, which the next stage changes further. The draws depend
        only on `seed` and the modules' names, never on global state.

    Raises:
        InvalidInputError: for a network without parameters.
    """
    randomised_copy = copy.deepcopy(network)
    modules = dict(randomised_copy.named_modules())
    for name, members in randomisation_stages(network, stages).items():
        for member in members:
            _reinitialise(modules[member], seed=seed, purpose=f"sanity_check:{member}")
        yield name or ROOT_STAGE, randomised_copy


def randomisation_stages(network: nn.Module, stages: int) -> dict[str, Stage]:
    """Names of the modules of each stage, from the output to the input.

    A stage is one block, or several neighbouring blocks if there are more blocks than `stages`. A
    block is the nearest enclosing module that is not a plain `Sequential` and holds at most half of
    all modules. The last layer is a stage of its own unless `stages` is 1. Modules are assumed to
    run in the order of their definition.

    Raises:
        InvalidInputError: for a network without parameters.
    """
    blocks = _blocks(network)
    if not blocks:
        raise InvalidInputError(
            "sanity_check: expected a network with parameters to randomise, got none"
        )
    head, rest = blocks[0], blocks[1:]
    num_groups = min(max(stages - 1, 1), len(rest))
    named = {} if rest and stages == 1 else {head[0]: head[1]}
    for index in range(num_groups):
        part = rest[index * len(rest) // num_groups : (index + 1) * len(rest) // num_groups]
        if not named:
            part = [head, *part]
        named[part[-1][0]] = tuple(member for _, members in part for member in members)
    return named


def _blocks(network: nn.Module) -> list[tuple[str, Stage]]:
    """Blocks with their modules, last first; a module outside any block is its own block."""
    modules = dict(network.named_modules())
    parameter_owners = [
        n for n, m in modules.items() if any(True for _ in m.parameters(recurse=False))
    ]
    blocks: dict[str, list[str]] = {}
    for name in reversed(parameter_owners):
        blocks.setdefault(_block_of(name, modules, parameter_owners), []).append(name)
    return [(name, tuple(members)) for name, members in blocks.items()]


def _block_of(name: str, modules: dict[str, nn.Module], parameter_owners: list[str]) -> str:
    parent = name.rpartition(".")[0]
    while parent and isinstance(modules[parent], nn.Sequential):
        parent = parent.rpartition(".")[0]
    members = [owner for owner in parameter_owners if owner.startswith(f"{parent}.")]
    return parent if parent and 2 * len(members) <= len(parameter_owners) else name


def _reinitialise(module: nn.Module, *, seed: int, purpose: str) -> None:
    """Randomise a module's direct parameters in place; draws are made on the CPU."""
    is_leaf = next(module.children(), None) is None
    if is_leaf and hasattr(module, "reset_parameters"):
        fresh: Any = copy.deepcopy(module).cpu()
        with seeded(seed, purpose):
            fresh.reset_parameters()
        module.load_state_dict(fresh.state_dict())
        return
    # Without an initialiser: draw values with the mean and deviation of the trained ones.
    rng = make_generator(seed, purpose)
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            drawn = torch.randn(parameter.shape, generator=rng).to(parameter)
            parameter.copy_(drawn * parameter.std(unbiased=False) + parameter.mean())


@_add(
    "random_logit",
    title="Random logit",
    bounds=(-1.0, 1.0),
    unit="similarity",
    source="Sixt et al., ICML 2020",
    cost_of=lambda _protocol, **_: MetricCost(explains=1),
    pitfalls="not a ranking: near 1 the method ignores the class; lower values depend on the "
    "similarity of the two classes; smooth maps are similar in any case",
)
def random_logit(inputs: MetricInputs, *, similarity: str = "ssim") -> Tensor:
    """Similarity of the map to that of another class, (N,) in [-1, 1].

    The other class is drawn uniformly for each image. A value of 1 means that the method ignores
    the class.

    Args:
        similarity: `ssim` or `spearman`, see `similarity_of`.

    Source: Sixt et al., ICML 2020.
    """
    others = _other_classes(inputs)
    other_maps = inputs.explain(inputs.images, others).to(inputs.maps)
    return similarity_of(inputs.maps, other_maps, similarity)


def _other_classes(inputs: MetricInputs) -> Tensor:
    """Draw for each image a class (N,) other than its target, seeded by the image."""
    network = inputs.network if inputs.network is not None else inputs.model
    with scoring(network):
        num_classes = logits_of(network(inputs.images[:1])).shape[1]
    if num_classes < 2:
        raise InvalidInputError("random_logit: expected a model with at least two classes, got one")
    generators = [
        make_generator(inputs.seed, f"random_logit:{inputs.key(row)}")
        for row in range(len(inputs.images))
    ]
    draws = [torch.randint(num_classes - 1, (1,), generator=rng) for rng in generators]
    drawn = torch.cat(draws).to(inputs.targets)
    return drawn + (drawn >= inputs.targets)


def similarity_of(first: Tensor, second: Tensor, kind: str) -> Tensor:
    """`rank_correlation` (`spearman`) or `structural_similarity` (`ssim`), (N,) in [-1, 1]."""
    check_choice("similarity", kind, SIMILARITIES)
    measure = rank_correlation if kind == "spearman" else structural_similarity
    return measure(first, second)


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of each pair of maps; equal values share their mean rank.

    Args:
        first, second: (N, H, W) float, finite.

    Returns:
        (N,) float32 in [-1, 1]. The correlation with a flat map is undefined: 1 if both maps are
        flat, because they are identical, and 0 if only one is.

    Source: Spearman, 1904; as a similarity of maps in Adebayo et al., NeurIPS 2018.
    """
    centred = [_mean_ranks(maps.flatten(1)) for maps in (first, second)]
    lengths = [ranks.norm(dim=1) for ranks in centred]
    aligned = (centred[0] * centred[1]).sum(1)
    is_flat = [length == 0 for length in lengths]
    defined = aligned / torch.where(is_flat[0] | is_flat[1], 1, lengths[0] * lengths[1])
    return torch.where(is_flat[0] & is_flat[1], 1, defined.clamp(-1, 1))


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Mean SSIM over all 7 px windows, with each map scaled to [0, 1].

    Args:
        first, second: (N, H, W) float, finite; the window is reduced for maps below 7 px.

    Returns:
        (N,) float32 in [-1, 1]; a flat map is scaled to zeros.

    Source: Wang et al., IEEE TIP 2004, with a box window instead of a Gaussian and unbiased
    (co)variances.
    """
    side = min(WINDOW_PX, *first.shape[1:])
    a, b = (_scaled(maps)[:, None] for maps in (first, second))

    def local(values: Tensor) -> Tensor:
        pooled: Tensor = F.avg_pool2d(values, side, stride=1)
        return pooled

    unbias = side**2 / max(side**2 - 1, 1)
    mean_a, mean_b = local(a), local(b)
    variance_a = unbias * (local(a * a) - mean_a**2)
    variance_b = unbias * (local(b * b) - mean_b**2)
    covariance = unbias * (local(a * b) - mean_a * mean_b)
    c1, c2 = STABILISERS
    ssim: Tensor = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    ssim = ssim / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
    return ssim.flatten(1).mean(1).clamp(-1, 1)


def _mean_ranks(values: Tensor) -> Tensor:
    """Centred mean ranks of each row, divided by the row's length."""
    values = values.contiguous()
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values, right=False)
    not_above = torch.searchsorted(ordered, values, right=True)
    # Twice the mean rank minus twice the centre: integers, so that a flat row is exactly 0.
    return (below + not_above - values.shape[1]).float() / values.shape[1]


def _scaled(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / torch.where(high > low, high - low, 1)
