"""The inputs of a metric, its result, its cost, and the registry of all metrics.

A metric is a function of `MetricInputs`, one batch of images with their maps, that returns one
number per image. Its keyword-only parameters are its rules. Their values determine the protocol id
stored in each row; `road(noise=0)` names a metric with a changed rule. A metric may also declare
curves. Costly results that several metrics need, such as the perturbation curves, are computed once
by `SharedResults`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, get_args

from torch import Tensor, nn

from lico_bench.checks import check_choice
from lico_bench.errors import InvalidInputError
from lico_bench.models.classifier import LogitsModel
from lico_bench.records import Category, Cost, MetricSpec, Need, Protocol, rules_id
from lico_bench.registry import (
    Registry,
    check_options,
    format_call,
    keyword_defaults,
    parse_call,
)

T = TypeVar("T")
Compute = TypeVar("Compute", bound=Callable[..., Tensor])
Explainer = Callable[[nn.Module, Tensor, Tensor], Tensor]


class SharedResults:
    """Results of one `MetricInputs` that several metrics need; each is computed once."""

    def __init__(self) -> None:
        self._results: dict[str, Any] = {}

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """Return the result called `name`; the first request computes it."""
        if name not in self._results:
            self._results[name] = compute()
        result: T = self._results[name]
        return result


@dataclass(frozen=True)
class MetricInputs:
    """Inputs of a metric for N images and one saliency method.

    Attributes:
        model: the scoring network, a callable from images in [0, 1] to logits.
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64, the explained class.
        maps: (N, H, W) float32.
        regions: (N, H, W) bool; None if the dataset has no ground truth.
        network: the explained model; it may differ from the scoring network.
        explainer: computes maps by the same method from a model, images and targets.
        instances: for each image (I, H, W) bool, one mask per object; None if unknown.
        predicted: (N,) int64, the class that the scoring network predicts.
        image_ids: stable names; random draws are seeded by them, never by the batch.
        mean_rgb: mean colour of the training images, which is zero after normalisation.
        seed: seed of all random draws.
        shared: results that several metrics need; a copy by `replace` starts without any.
    """

    model: LogitsModel
    images: Tensor
    targets: Tensor
    maps: Tensor
    regions: Tensor | None
    protocol: Protocol
    network: nn.Module | None = None
    explainer: Explainer | None = None
    instances: Sequence[Tensor] | None = None
    predicted: Tensor | None = None
    image_ids: tuple[str, ...] = ()
    mean_rgb: tuple[float, float, float] | None = None
    seed: int = 0
    shared: SharedResults = field(init=False, default_factory=SharedResults)

    @property
    def scored(self) -> Tensor:
        """The class (N,) int64 that the curves follow, as the protocol defines.

        Raises:
            InvalidInputError: if that is the predicted class and `predicted` is None.
        """
        if self.protocol.scored_class == "explained":
            return self.targets
        if self.predicted is None:
            raise InvalidInputError(
                f"protocol {self.protocol.name} follows the predicted class; "
                "pass predicted= to MetricInputs"
            )
        return self.predicted

    @property
    def sorted_values(self) -> Tensor:
        """Values (N, H * W) of each map in descending order; computed once."""
        return self.shared.once(
            "sorted values", lambda: self.maps.flatten(1).sort(dim=1, descending=True).values
        )

    @property
    def known_regions(self) -> Tensor:
        """(N, H, W) bool on the maps' device.

        Raises:
            InvalidInputError: if the dataset has no ground truth.
        """
        if self.regions is None:
            raise InvalidInputError("the dataset has no regions; remove the localisation metrics")
        return self.regions.to(self.maps.device)

    def explain(
        self, images: Tensor, targets: Tensor, *, network: nn.Module | None = None
    ) -> Tensor:
        """Compute maps of other images, or with another network, by the same method.

        Raises:
            InvalidInputError: without an explainer or a network.
        """
        model = network or self.network
        if self.explainer is None or model is None:
            raise InvalidInputError(
                "this metric computes new maps and needs the model and the method; "
                "pass network= and explainer= to MetricInputs"
            )
        return self.explainer(model, images, targets)

    def key(self, row: int) -> str:
        """Seed label of the draws for image number `row`: its id, or `row` without ids."""
        return self.image_ids[row] if self.image_ids else str(row)


@dataclass(frozen=True)
class Curve:
    """One curve of each image: `values` (N, S) over `fractions` (S,), ascending in [0, 1]."""

    name: str
    fractions: Tensor
    values: Tensor


@dataclass(frozen=True)
class MetricResult:
    """`values` (N,), NaN for skipped images, and the curves that they summarise, if any."""

    values: Tensor
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class MetricCost:
    """Cost of one image beyond its map.

    Attributes:
        shared: name of the result shared with other metrics, such as `curves`; empty if none.
        forwards: forwards of the scoring network.
        explains: new maps.
        curves: curves of the perturbation protocol.
    """

    shared: str = ""
    forwards: float = 0
    explains: float = 0
    curves: int = 0


def no_cost(_protocol: Protocol, **_rules: object) -> MetricCost:
    """Cost of a metric that only reads the map."""
    return MetricCost()


def no_curves(_inputs: MetricInputs, **_rules: object) -> tuple[Curve, ...]:
    """Curves of a metric that has none."""
    return ()


@dataclass(frozen=True)
class Metric:
    """A spec and the functions that compute the metric.

    Attributes:
        compute: (inputs, **rules) -> (N,), NaN for skipped images; rules are keyword-only with
            defaults.
        version: raised when the function computes different values under the same rules.
        cost: (protocol, **rules) -> cost of one image beyond its map; shared results are counted
            once.
        curves: (inputs, **rules) -> the curves behind the values, to be stored with them.
    """

    spec: MetricSpec
    compute: Callable[..., Tensor]
    version: int = 1
    cost: Callable[..., MetricCost] = no_cost
    curves: Callable[..., tuple[Curve, ...]] = no_curves

    def apply(self, inputs: MetricInputs) -> MetricResult:
        """Compute the values and the curves of `inputs`."""
        return MetricResult(self.compute(inputs), self.curves(inputs))

    @property
    def rules(self) -> dict[str, object]:
        """All rules with their values."""
        return keyword_defaults(self.compute)


METRICS: Registry[Metric] = Registry("metric", "lico_bench.metrics")


def add_metric(
    name: str,
    *,
    version: int = 1,
    cost_of: Callable[..., MetricCost] = no_cost,
    curves: Callable[..., tuple[Curve, ...]] = no_curves,
    **facts: Any,
) -> Callable[[Compute], Compute]:
    """Return a decorator that registers a function as the metric `name`.

    Args:
        version: `Metric.version`.
        cost_of: `Metric.cost`.
        curves: `Metric.curves`.
        facts: fields of `MetricSpec`. `title`, `higher_is_better`, `bounds`, `unit` and `source`
            are required; `category` is `perturbation` unless given.

    Raises:
        InvalidInputError: for an unknown category, cost or need.
    """

    def add(compute: Compute) -> Compute:
        spec = MetricSpec(name, **facts)
        check_choice(f"category of {name}", spec.category, get_args(Category))
        check_choice(f"cost of {name}", spec.cost, get_args(Cost))
        for need in spec.needs:
            check_choice(f"needs of {name}", need, get_args(Need))
        METRICS.add(name, Metric(spec, compute, version, cost_of, curves))
        return compute

    return add


def resolve_metric(text: str) -> Metric:
    """Resolve a name or call to a metric with its rules and protocol id set.

    The protocol id is the hash of the rules; it is None for a metric that follows the run's
    perturbation protocol.

    Raises:
        UnknownNameError: for an unknown metric or rule.
        InvalidInputError: if `text` is neither a name nor a call.
    """
    name, options = parse_call(text)
    entry = METRICS[name]
    check_options(f"metric '{name}'", entry.compute, options)
    spec = entry.spec
    if options:
        arguments = format_call("", options).strip("()")
        spec = replace(spec, name=format_call(name, options), title=f"{spec.title} ({arguments})")
        entry = replace(
            entry,
            compute=partial(entry.compute, **options),
            cost=partial(entry.cost, **options),
            curves=partial(entry.curves, **options),
        )
    protocol = spec.protocol
    if protocol is None and "curves" not in spec.needs:
        protocol = rules_id(f"{name}_{entry.version}", entry.rules)
    return replace(entry, spec=replace(spec, protocol=protocol))
