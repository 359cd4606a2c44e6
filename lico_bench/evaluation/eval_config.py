"""What is asked of each model, checked once, and what the answer costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from lico_bench.checks import check_count
from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError
from lico_bench.metrics import PROTOCOLS, Metric, resolve_metric
from lico_bench.records import Protocol
from lico_bench.registry import keyword_defaults
from lico_bench.saliency import SaliencyMethod, Setting, resolve_method

MAP_FACTS = ("flat_map", "tied_ranks")  # stand beside every score of a map


@dataclass(frozen=True)
class EvalConfig:
    """Methods, metrics and rules; by name or call, `rise(num_masks=200)`.

    Attributes:
        limit: images to explain, spread evenly over the dataset; all if None.

    Raises:
        UnknownNameError: for a name or an option that nothing knows.
        InvalidInputError: if nothing is asked.
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    protocol: Protocol
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.methods or not self.metrics:
            raise InvalidInputError("evaluate: expected at least one method and one metric")
        if self.limit is not None:
            check_count("limit", self.limit)
        _ = self.resolved_methods, self.resolved_metrics

    def __getstate__(self) -> dict[str, Any]:
        # What was looked up holds functions that no other process can be sent; it looks up anew.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(
        cls,
        methods: Sequence[str],
        metrics: Sequence[str],
        protocol: str | Protocol,
        limit: int | None = None,
    ) -> EvalConfig:
        """A question whose protocol may be a name."""
        rules = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
        return cls(tuple(methods), tuple(metrics), rules, limit)

    @cached_property
    def resolved_methods(self) -> dict[str, SaliencyMethod]:
        """The methods by the name that rows carry."""
        return dict(resolve_method(text) for text in self.methods)

    @property
    def asked_metrics(self) -> tuple[str, ...]:
        """The metrics asked for, by the name that rows carry."""
        return tuple(resolve_metric(text).spec.name for text in self.metrics)

    @cached_property
    def resolved_metrics(self) -> dict[str, Metric]:
        """The metrics by the name that rows carry, those of the map itself last."""
        requested = [resolve_metric(text) for text in self.metrics]
        found = {metric.spec.name: metric for metric in requested}
        return found | {name: resolve_metric(name) for name in MAP_FACTS}

    def facts(self) -> dict[str, Any]:
        """`metrics`, `methods` and `protocols` of a manifest: what each name and each id means."""
        protocol = self.protocol
        rules = {protocol.id: {**protocol.rules, "source": protocol.source}}
        for metric in self.resolved_metrics.values():
            if metric.spec.protocol:
                rules[metric.spec.protocol] = metric.rules
        return {
            "metrics": {name: asdict(found.spec) for name, found in self.resolved_metrics.items()},
            "methods": {name: _message(entry) for name, entry in self.resolved_methods.items()},
            "protocols": rules,
        }

    def defined_for(self, dataset: Dataset) -> tuple[dict[str, Metric], tuple[str, ...]]:
        """The metrics that the dataset has the ground truth for, and the names of the others.

        Raises:
            InvalidInputError: if none of those asked for is defined.
        """
        known = {"regions": dataset.has_regions, "instances": dataset.has_instances}
        lacking = [
            name
            for name, metric in self.resolved_metrics.items()
            if not all(known.get(need, True) for need in metric.spec.needs)
        ]
        defined = {n: m for n, m in self.resolved_metrics.items() if n not in lacking}
        if set(defined) <= set(MAP_FACTS) and not set(MAP_FACTS) & set(self.metrics):
            raise InvalidInputError(
                f"{dataset.name} has no regions, which {', '.join(lacking)} need; "
                "ask for other metrics"
            )
        return defined, tuple(lacking)

    def forwards_per_map(self, setting: Setting, *, metrics: Sequence[str] | None = None) -> float:
        """Images sent through a model for all methods and metrics of one explained image."""
        return sum(self._forwards(name, setting, metrics) for name in self.resolved_methods)

    def _forwards(self, method: str, setting: Setting, metrics: Sequence[str] | None) -> float:
        each = self.resolved_methods[method].cost(setting)
        points = len(self.protocol.changed_px(setting.image_size[0] * setting.image_size[1]))
        shared: dict[str, float] = {}
        own = 0.0
        for name, metric in self.resolved_metrics.items():
            if metrics is not None and name not in metrics:
                continue
            cost = metric.cost(self.protocol)
            forwards = cost.forwards + cost.explains * each + cost.curves * (points - 1)
            if cost.shared:
                shared[cost.shared] = forwards
            else:
                own += forwards
        return each + own + sum(shared.values())


def _message(entry: SaliencyMethod) -> dict[str, Any]:
    return {
        "title": entry.title,
        "source": entry.source,
        "family": entry.family,
        "is_control": entry.is_control,
        "is_signed": entry.is_signed,
        "pitfalls": entry.pitfalls,
        "options": keyword_defaults(entry.compute),
    }
