"""Inputs of an evaluation: models under test, methods, metrics, protocol; the cost per image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from torch import nn

from lico_bench.checks import check_count
from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError
from lico_bench.metrics import PROTOCOLS, Metric, resolve_metric
from lico_bench.records import Protocol, content_key
from lico_bench.saliency import MapCostInputs, SaliencyMethod, resolve_method
from lico_bench.training import TrainedModel

MAP_FACTS = ("flat_map", "tied_ranks")  # computed for every map


@dataclass(frozen=True)
class Subject:
    """A model under test and its identity columns.

    Attributes:
        layer: the layer that CAM methods explain; the model's explanation layer if None.
    """

    model: nn.Module
    pair: str
    cell: str
    backbone: str
    arm: str
    seed: int
    labels: str
    layer: str | None = None


def subjects_of(
    models: TrainedModel | Sequence[TrainedModel] | Mapping[str, nn.Module],
    *,
    layer: str | None = None,
) -> list[Subject]:
    """Return one subject per model; modules by name form one pair."""
    if isinstance(models, TrainedModel):
        models = [models]
    if isinstance(models, Mapping):
        pair = content_key(sorted(models))
        return [
            Subject(model, pair, arm, backbone="own", arm=arm, seed=0, labels="full", layer=layer)
            for arm, model in models.items()
        ]
    if not models:
        raise InvalidInputError("evaluate: expected at least one model, got none")
    recipes = [(trained, trained.recipe) for trained in models]
    return [
        Subject(
            model=trained.classifier,
            pair=recipe.pair_key,
            cell=f"{recipe.arm}-s{recipe.seed}-{recipe.pair_key}",
            backbone=recipe.backbone,
            arm=recipe.arm,
            seed=recipe.seed,
            labels=str(recipe.labels),
            layer=layer,
        )
        for trained, recipe in recipes
    ]


@dataclass(frozen=True)
class EvalConfig:
    """Methods, metrics and protocol; a method or metric is a name or a call `rise(num_masks=200)`.

    Attributes:
        limit: images to explain, spread evenly over the dataset; all if None.

    Raises:
        UnknownNameError: for an unknown name or option.
        InvalidInputError: if methods or metrics are empty.
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
        # Registry entries hold functions that cannot be pickled; another process resolves them.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(
        cls,
        methods: Sequence[str],
        metrics: Sequence[str],
        protocol: str | Protocol,
        limit: int | None = None,
    ) -> EvalConfig:
        """Return a config; `protocol` may be a name."""
        rules = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
        return cls(tuple(methods), tuple(metrics), rules, limit)

    @cached_property
    def resolved_methods(self) -> dict[str, SaliencyMethod]:
        """Methods by the name stored in the rows."""
        return dict(resolve_method(text) for text in self.methods)

    @property
    def requested_metrics(self) -> tuple[str, ...]:
        """Names of the requested metrics as stored in the rows."""
        return tuple(resolve_metric(text).spec.name for text in self.metrics)

    @cached_property
    def resolved_metrics(self) -> dict[str, Metric]:
        """Metrics by the name stored in the rows; the map facts come last."""
        requested = [resolve_metric(text) for text in self.metrics]
        by_name = {metric.spec.name: metric for metric in requested}
        return by_name | {name: resolve_metric(name) for name in MAP_FACTS}

    def defined_for(self, dataset: Dataset) -> tuple[dict[str, Metric], tuple[str, ...]]:
        """Metrics that the dataset has ground truth for, and the names of the others.

        Raises:
            InvalidInputError: if no requested metric is defined.
        """
        available = {"regions": dataset.has_regions, "instances": dataset.has_instances}
        undefined = [
            name
            for name, metric in self.resolved_metrics.items()
            if not all(available.get(need, True) for need in metric.spec.needs)
        ]
        defined = {n: m for n, m in self.resolved_metrics.items() if n not in undefined}
        if set(defined) <= set(MAP_FACTS) and not set(MAP_FACTS) & set(self.metrics):
            raise InvalidInputError(
                f"{dataset.name} has no regions, but {', '.join(undefined)} need them; "
                "request other metrics"
            )
        return defined, tuple(undefined)

    def forwards_per_map(
        self, cost_inputs: MapCostInputs, *, metrics: Sequence[str] | None = None
    ) -> float:
        """Forward passes needed to explain and score one image with all methods and metrics.

        Args:
            metrics: names of the metrics to count; all if None.
        """
        num_steps = len(self.protocol.changed_px(math.prod(cost_inputs.image_size))) - 1
        costs = {
            name: metric.cost(self.protocol)
            for name, metric in self.resolved_metrics.items()
            if metrics is None or name in metrics
        }
        total = 0.0
        for method in self.resolved_methods.values():
            per_map = method.cost(cost_inputs)
            forwards = {  # a shared result is counted once
                cost.shared or f"of {name}": (
                    cost.forwards + cost.explains * per_map + cost.curves * num_steps
                )
                for name, cost in costs.items()
            }
            total += per_map + sum(forwards.values())
        return total
