"""What a metric looks at, what it costs, and the registry of all metrics.

A metric is a function of `MetricInputs`: one batch of images, their maps, and what can be made of
them. What is costly (the perturbation curves) is made once and shared. The keyword-only parameters
of its function are its rules: their values make the protocol id that travels with each row, and
`road(noise=0)` names a metric with another value than its default.
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
    """What a metric may look at, for N images and one saliency method.

    Attributes:
        model: from images in [0, 1] to logits: the network that scores.
        images: (N, 3, H, W) float32 in [0, 1].
        targets: (N,) int64, the class explained.
        maps: (N, H, W) float32.
        regions: (N, H, W) bool, or None where the dataset has no ground truth.
        network: the explained model, which may be another than the one that scores.
        explainer: from a model, images and targets to maps by the same method; what re-explains.
        instances: per image (I, H, W) bool, one for each marked object; None where unknown.
        predicted: (N,) int64, the class that the scoring network puts first.
        image_ids: stable names; what draws at random is seeded by them, never by the batch.
        mean_rgb: mean colour of the training images, which a normalised zero stands for.
        seed: of everything that draws at random.
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
        """(N,) int64, the class that curves follow: the protocol's choice.

        Raises:
            InvalidInputError: if it is the predicted one and nobody told which that is.
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
        """Insertion and deletion curves of the batch, made at the first look."""
        return self._curves("most")

    @cached_property
    def least_first(self) -> Curves:
        """The same with the least salient pixels changed first."""
        return self._curves("least")

    def _curves(self, first: Literal["most", "least"]) -> Curves:
        return perturbation_curves(
            self.model, self.images, self.scored, self.maps,
            protocol=self.protocol, first=first, mean_rgb=self.mean_rgb,
        )  # fmt: skip

    def explain(
        self, images: Tensor, targets: Tensor, *, network: nn.Module | None = None
    ) -> Tensor:
        """Maps of other images, or by another network, with the same method.

        Raises:
            InvalidInputError: if the inputs was made from maps alone.
        """
        model = network or self.network
        if self.explainer is None or model is None:
            raise InvalidInputError(
                "this metric makes maps anew and needs the model and the method, not maps alone; "
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
            raise InvalidInputError(
                "the dataset has no regions; leave the localisation metrics out"
            )
        return self.regions.to(self.maps.device)

    def key(self, row: int) -> str:
        """What seeds the draws of image number `row`: its id, or its place where it has none."""
        return self.image_ids[row] if self.image_ids else str(row)


@dataclass(frozen=True)
class MetricCost:
    """What one image costs beyond its stored map.

    Attributes:
        shared: what others may have made already, such as `curves`; empty if nothing is shared.
        forwards: images sent through the scoring network.
        explains: maps made anew.
        curves: curves of the perturbation protocol.
    """

    shared: str = ""
    forwards: float = 0
    explains: float = 0
    curves: int = 0


def no_cost(_protocol: Protocol, **_rules: object) -> MetricCost:
    """A look at what is there."""
    return MetricCost()


@dataclass(frozen=True)
class Metric:
    """A spec and the function that computes it, (N,) with NaN for skipped images.

    Attributes:
        compute: (inputs, **rules) -> (N,); rules are keyword-only with defaults.
        version: raised when the function computes another number under the same rules.
        effort: (protocol, **rules) -> what one image costs beyond its stored map; what metrics
            share is counted once.
    """

    spec: MetricSpec
    compute: Callable[..., Tensor]
    version: int = 1
    cost: Callable[..., MetricCost] = no_cost

    @property
    def protocol(self) -> str | None:
        """Id of its own rules; None where it follows the run's perturbation protocol."""
        if self.spec.protocol or "curves" in self.spec.needs:
            return self.spec.protocol
        name = parse_call(self.spec.name)[0]
        return rules_id(f"{name}_{self.version}", self.rules)

    @property
    def rules(self) -> dict[str, object]:
        """Every parameter with its value."""
        return keyword_defaults(self.compute)


METRICS: Registry[Metric] = Registry("metric", "lico_bench.metrics")


def resolve_metric(text: str) -> Metric:
    """A metric by name or call, with its rules set and its protocol id in the spec.

    Raises:
        UnknownNameError: for an unknown metric or rule.
        InvalidInputError: for a text that is neither name nor call.
    """
    name, options = parse_call(text)
    entry = METRICS[name]
    check_options(f"metric '{name}'", entry.compute, options)
    spec = entry.spec
    if options:
        message = format_call("", options).strip("()")
        spec = replace(spec, name=format_call(name, options), title=f"{spec.title} ({message})")
        entry = replace(
            entry,
            spec=spec,
            compute=partial(entry.compute, **options),
            cost=partial(entry.cost, **options),
        )
    return replace(entry, spec=replace(spec, protocol=entry.protocol))
