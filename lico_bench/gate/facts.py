"""Metadata of a run's metrics and methods: direction, unit, bounds, control methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lico_bench.errors import InvalidInputError
from lico_bench.records import MetricSpec
from lico_bench.stats import MODEL_SCORES
from lico_bench.store.run_records import Manifest, SuiteRecord

# By metric name; a mapping needs `higher_is_better`, may have `title`, `unit`, `bounds`.
MetricFacts = Mapping[str, MetricSpec | Mapping[str, Any]]


@dataclass(frozen=True)
class RunFacts:
    """The metrics by name, and the control methods, which do not depend on the model."""

    metrics: Mapping[str, MetricSpec]
    controls: frozenset[str] = frozenset()

    @classmethod
    def of(cls, scores: Any, metrics: MetricFacts | None = None) -> RunFacts:
        """Return the facts in the manifest of `scores`; `metrics` replaces its metrics."""
        manifest = manifest_of(scores)
        given = {name: _spec(name, facts) for name, facts in (metrics or {}).items()}
        return cls(
            metrics={**MODEL_SCORES, **(given or manifest.metrics)},
            controls=frozenset(name for name in manifest.methods if manifest.is_control(name)),
        )

    def direction(self, metric: str) -> bool | None:
        """Whether higher is better; None for a descriptive metric.

        Raises:
            InvalidInputError: for an unknown metric.
        """
        if metric not in self.metrics:
            raise InvalidInputError(
                f"metrics: expected a direction for each metric, got none for {metric}; "
                "pass metrics={name: {'higher_is_better': ...}} or a run folder"
            )
        return self.metrics[metric].higher_is_better

    def is_judged(self, metric: str, method: str) -> bool:
        """Whether a score is judged: its metric has a direction, its method is not a control."""
        return self.direction(metric) is not None and method not in self.controls

    def may_be_judged(self, metric: str, method: str) -> bool:
        """Return `is_judged` for a known metric and True for an unknown one."""
        return metric not in self.metrics or self.is_judged(metric, method)

    def spec(self, metric: str) -> MetricSpec:
        """Return the description of a metric; of an unknown one, empty and without bounds."""
        return self.metrics.get(metric) or _spec(metric, {"higher_is_better": None})


def manifest_of(scores: Any) -> Manifest:
    """Return the manifest of a run folder; an empty one for rows without."""
    if hasattr(scores, "manifest"):
        manifest: Manifest = scores.manifest()
        return manifest
    return Manifest(suite_key="", suite=SuiteRecord(), cells=())


def _spec(name: str, facts: MetricSpec | Mapping[str, Any]) -> MetricSpec:
    """Return the spec of a metric that a caller describes by some facts."""
    if isinstance(facts, MetricSpec):
        return facts
    return MetricSpec(
        name=name,
        title=str(facts.get("title", "")),
        higher_is_better=facts.get("higher_is_better"),
        bounds=facts.get("bounds") or (None, None),
        unit=str(facts.get("unit", "")),
        source="",
    )
