"""The inputs of a metric, its cost, and the registry of all metrics.

A metric is a function of `MetricInputs`: one batch of images with their maps. Metrics share costly
results such as the perturbation curves. The keyword-only parameters of a metric's function are its
rules. Their values determine the protocol id stored in each row; `road(noise=0)` names a metric
with a changed rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Literal

from torch import Tensor, nn

from lico_bench.errors import InvalidInputError
from lico_bench.metrics.perturbation import Curves, perturbation_curves
from lico_bench.models.forwards import LogitsModel
from lico_bench.records import MetricSpec, Protocol, rules_id
from lico_bench.registry import (
    Registry,
    check_options,
    format_call,
    keyword_defaults,
    parse_call,
)

Explainer = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass
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
        shared: results that several metrics use, by the `shared` name of their cost.
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
    shared: dict[str, object] = field(default_factory=dict)

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

    @cached_property
    def curves(self) -> Curves:
        """Insertion and deletion curves of the batch; computed on first access."""
        return self._curves("most")

    @cached_property
    def least_first(self) -> Curves:
        """Curves with the least salient pixels changed first; computed on first access."""
        return self._curves("least")

    def _curves(self, first: Literal["most", "least"]) -> Curves:
        return perturbation_curves(
            self.model, self.images, self.scored, self.maps,
            protocol=self.protocol, first=first, mean_rgb=self.mean_rgb,
        )  # fmt: skip

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

    @property
    def known_regions(self) -> Tensor:
        """(N, H, W) bool on the maps' device.

        Raises:
            InvalidInputError: if the dataset has no ground truth.
        """
        if self.regions is None:
            raise InvalidInputError("the dataset has no regions; remove the localisation metrics")
        return self.regions.to(self.maps.device)

    def key(self, row: int) -> str:
        """Seed label of the draws for image number `row`: its id, or `row` without ids."""
        return self.image_ids[row] if self.image_ids else str(row)


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


@dataclass(frozen=True)
class Metric:
    """A spec and the function that computes it, (N,) with NaN for skipped images.

    Attributes:
        compute: (inputs, **rules) -> (N,); rules are keyword-only with defaults.
        version: raised when the function computes different values under the same rules.
        cost: (protocol, **rules) -> cost of one image beyond its map; shared results are counted
            once.
    """

    spec: MetricSpec
    compute: Callable[..., Tensor]
    version: int = 1
    cost: Callable[..., MetricCost] = no_cost

    @property
    def protocol(self) -> str | None:
        """Id of the metric's rules; None if it follows the run's perturbation protocol."""
        if self.spec.protocol or "curves" in self.spec.needs:
            return self.spec.protocol
        name = parse_call(self.spec.name)[0]
        return rules_id(f"{name}_{self.version}", self.rules)

    @property
    def rules(self) -> dict[str, object]:
        """All rules with their values."""
        return keyword_defaults(self.compute)


METRICS: Registry[Metric] = Registry("metric", "lico_bench.metrics")


def resolve_metric(text: str) -> Metric:
    """Resolve a name or call to a metric with its rules and protocol id set.

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
            spec=spec,
            compute=partial(entry.compute, **options),
            cost=partial(entry.cost, **options),
        )
    return replace(entry, spec=replace(spec, protocol=entry.protocol))
