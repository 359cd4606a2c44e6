"""Sanity check: does a map change when the network's parameters are randomised?

The parameters are randomised cumulatively, stage by stage from the output to the input, and every
image is explained after each stage. The maps of a method that explains the network change; those of
an edge detector stay the same.

Source: Adebayo et al., NeurIPS 2018, cascading randomisation.
Quantus' MPRT is not used: it seeds the global generators (every layer with the same seed), computes
a map for each layer of the network, and has no value for a flat map.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lico_bench.checks import check_count
from lico_bench.errors import InvalidInputError
from lico_bench.metrics import METRICS, Metric, MetricCost, MetricInputs
from lico_bench.metrics.map_similarity import similarity as similarity_of
from lico_bench.records import MetricSpec, Protocol
from lico_bench.runtime import make_generator, seeded

TRAINED = "trained"  # the cascade starts with the trained network
ROOT_STAGE = "model"  # name of a stage of parameters that belong to the network itself
Stage = tuple[str, ...]


def sanity_check(inputs: MetricInputs, *, stages: int = 8, similarity: str = "spearman") -> Tensor:
    """Absolute similarity to the map of the fully randomised network, (N,) in [0, 1].

    Stores the cascade in `inputs.shared["cascade"]`: the names of the stages, `trained` first, and
    their signed similarities (N, stages + 1), which start at 1.

    Args:
        stages: maximum number of stages; each costs a map.
        similarity: `spearman` or `ssim`; `map_similarity` defines both, also for flat maps.

    Raises:
        InvalidInputError: without a network, or if the network has no parameters.

    Source: Adebayo et al., NeurIPS 2018.
    Differs: neighbouring layers form a stage; a module is initialised again (`reset_parameters`,
    running statistics included), with the same draw for every image and arm.
    """
    check_count("stages", stages)
    if inputs.network is None:
        raise InvalidInputError(
            "sanity_check: expected the explained network, got only maps; "
            "pass network= and explainer= to MetricInputs"
        )
    names, values = [TRAINED], [torch.ones_like(inputs.maps[:, 0, 0])]
    for name, network in randomised(inputs.network, stages=stages, seed=inputs.seed):
        new_maps = inputs.explain(inputs.images, inputs.targets, network=network)
        names.append(name)
        values.append(similarity_of(inputs.maps, new_maps.to(inputs.maps), similarity))
    inputs.shared["cascade"] = (tuple(names), torch.stack(values, 1))
    return values[-1].abs()


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


def cascade_cost(_protocol: Protocol, *, stages: int = 8, **_rules: object) -> MetricCost:
    """One map per stage; small networks have fewer stages."""
    return MetricCost(explains=stages)


METRICS.add(
    "sanity_check",
    Metric(
        MetricSpec(
            name="sanity_check",
            title="Sanity check",
            higher_is_better=None,
            bounds=(0.0, 1.0),
            unit="rank correlation",
            source="Adebayo et al., NeurIPS 2018",
            needs=("maps", "explainer", "network"),
            category="randomisation",
            cost="explains",
            pitfalls=(
                "a gate, not a ranking: near 1 the method does not explain the network; low values "
                "are necessary but not sufficient, noise scores 0; smooth maps of few cells are "
                "similar by chance (0.1 to 0.5); uses one draw of the random weights"
            ),
        ),
        sanity_check,
        cost=cascade_cost,
    ),
)
