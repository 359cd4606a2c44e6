"""Sanity check: does a map change when the network forgets what it learned?

The network's parameters are drawn anew stage by stage, from the output back to the input, each
stage on top of the ones before, and every image is explained after each stage. A method that
explains the network gives another map; one that draws edges gives the same.

Source: Adebayo et al., NeurIPS 2018, cascading randomisation.
Computed here and not by Quantus' MPRT, which seeds the global generators (every layer with the same
seed), explains once for each of the network's layers, and has no value for a flat map.
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

UNTOUCHED = "trained"  # the stage before the first
WHOLE = "model"  # a stage named after the network itself
Stage = tuple[str, ...]


def sanity_check(inputs: MetricInputs, *, stages: int = 8, similarity: str = "spearman") -> Tensor:
    """Size of the similarity to the map of the wholly randomised network, (N,) in [0, 1].

    The whole cascade is left in `inputs.shared["cascade"]`: the names of the stages, `trained`
    first, and their similarities (N, stages + 1), which start at 1 and keep their sign.

    Args:
        stages: largest number of stages, each of which costs a map.
        similarity: `spearman` or `ssim`, see `map_similarity` also for flat maps.

    Raises:
        InvalidInputError: if the inputs has no network, or one without parameters.

    Source: Adebayo et al., NeurIPS 2018.
    Differs: neighbouring layers form a stage; a module is drawn anew as when it was built
    (`reset_parameters`; running statistics too), the same draw for every image and arm.
    """
    check_count("stages", stages)
    if inputs.network is None:
        raise InvalidInputError(
            "sanity_check: expected the explained network, got maps alone; "
            "pass network= and explainer= to MetricInputs"
        )
    names, values = [UNTOUCHED], [torch.ones_like(inputs.maps[:, 0, 0])]
    for name, network in randomised(inputs.network, stages=stages, seed=inputs.seed):
        found = inputs.explain(inputs.images, inputs.targets, network=network)
        names.append(name)
        values.append(similarity_of(inputs.maps, found.to(inputs.maps), similarity))
    inputs.shared["cascade"] = (tuple(names), torch.stack(values, 1))
    return values[-1].abs()


def randomised(network: nn.Module, *, stages: int, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """One copy of `network` after each stage of randomisation, from the output back.

    Yields:
        The stage's name and the copy; the next stage changes the same copy. The draws depend on
        `seed` and the modules' names alone, never on the global state.

    Raises:
        InvalidInputError: for a network without parameters.
    """
    forgetful = copy.deepcopy(network)
    modules = dict(forgetful.named_modules())
    for name, members in randomisation_stages(network, stages).items():
        for member in members:
            _draw_anew(modules[member], seed=seed, purpose=f"sanity_check:{member}")
        yield name or WHOLE, forgetful


def randomisation_stages(network: nn.Module, stages: int) -> dict[str, Stage]:
    """Names of the modules that are drawn anew together, by stage, from the output back.

    A stage is the modules of one block (the nearest module around them that is no plain sequence
    and holds at most half of all), or several neighbouring blocks where there are more blocks than
    `stages`; the last layer is always alone. Modules are taken to run in the order in which they
    were defined.

    Raises:
        InvalidInputError: for a network without parameters.
    """
    blocks = _blocks(network)
    if not blocks:
        raise InvalidInputError(
            "sanity_check: expected a network with parameters to randomise, got none"
        )
    head, rest = blocks[0], blocks[1:]
    groups = min(max(stages - 1, 1), len(rest))
    found = {} if rest and stages == 1 else {head[0]: head[1]}
    for group in range(groups):
        part = rest[group * len(rest) // groups : (group + 1) * len(rest) // groups]
        if not found:
            part = [head, *part]
        found[part[-1][0]] = tuple(member for _, members in part for member in members)
    return found


def _blocks(network: nn.Module) -> list[tuple[str, Stage]]:
    """Blocks with their modules, last first; a module outside any block is one by itself."""
    modules = dict(network.named_modules())
    owners = [n for n, m in modules.items() if any(True for _ in m.parameters(recurse=False))]
    blocks: dict[str, list[str]] = {}
    for name in reversed(owners):
        blocks.setdefault(_block_of(name, modules, owners), []).append(name)
    return [(name, tuple(members)) for name, members in blocks.items()]


def _block_of(name: str, modules: dict[str, nn.Module], owners: list[str]) -> str:
    around = name.rpartition(".")[0]
    while around and isinstance(modules[around], nn.Sequential):
        around = around.rpartition(".")[0]
    inside = [owner for owner in owners if owner.startswith(f"{around}.")]
    return around if around and 2 * len(inside) <= len(owners) else name


def _draw_anew(module: nn.Module, *, seed: int, purpose: str) -> None:
    """Draw a module's own parameters anew, in place, on the CPU whatever the module's device."""
    is_leaf = next(module.children(), None) is None
    if is_leaf and hasattr(module, "reset_parameters"):
        fresh: Any = copy.deepcopy(module).cpu()
        with seeded(seed, purpose):
            fresh.reset_parameters()
        module.load_state_dict(fresh.state_dict())
        return
    # A module that does not say how it starts: values spread as the trained ones are.
    rng = make_generator(seed, purpose)
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            drawn = torch.randn(parameter.shape, generator=rng).to(parameter)
            parameter.copy_(drawn * parameter.std(unbiased=False) + parameter.mean())


def cascade_cost(_protocol: Protocol, *, stages: int = 8, **_rules: object) -> MetricCost:
    """A map after each stage; small networks have fewer."""
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
                "a gate and no ranking: near 1 the method does not explain the network; low is "
                "necessary, not good, noise has 0; smooth maps of few cells are alike by chance "
                "(0.1 to 0.5); one draw of the random weights"
            ),
        ),
        sanity_check,
        cost=cascade_cost,
    ),
)
