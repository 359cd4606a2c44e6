"""Metadata of a run's metrics and methods: direction, unit, bounds, control methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lico_bench.errors import InvalidInputError
from lico_bench.stats import MODEL_SCORES


@dataclass(frozen=True)
class RunFacts:
    """Facts of each metric by name, and the control methods, which do not depend on the model."""

    metrics: Mapping[str, Mapping[str, Any]]
    controls: frozenset[str] = frozenset()

    @classmethod
    def of(cls, scores: Any, metrics: Mapping[str, Mapping[str, Any]] | None = None) -> RunFacts:
        """Return the facts in the manifest of `scores`; `metrics` replaces its metric facts."""
        manifest = scores.manifest() if hasattr(scores, "manifest") else {}
        model_scores = {name: asdict(spec) for name, spec in MODEL_SCORES.items()}
        methods = manifest.get("methods", {})
        return cls(
            metrics=model_scores | dict(metrics or manifest.get("metrics", {})),
            controls=frozenset(n for n, facts in methods.items() if facts.get("is_control")),
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
        higher_is_better: bool | None = self.metrics[metric]["higher_is_better"]
        return higher_is_better

    def is_judged(self, metric: str, method: str) -> bool:
        """Whether a score is judged: its metric has a direction, its method is not a control."""
        return self.direction(metric) is not None and method not in self.controls

    def may_be_judged(self, metric: str, method: str) -> bool:
        """Return `is_judged` for a known metric and True for an unknown one."""
        return metric not in self.metrics or self.is_judged(metric, method)

    def display_fields(self, metric: str) -> dict[str, Any]:
        """Return a judgement's title, unit and direction; empty or None if unknown."""
        facts = self.metrics.get(metric, {})
        return {
            "title": str(facts.get("title", "")),
            "unit": str(facts.get("unit", "")),
            "higher_is_better": facts.get("higher_is_better"),
        }
