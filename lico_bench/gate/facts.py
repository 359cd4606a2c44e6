"""What a run says of its metrics and methods: direction, unit, which methods are controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lico_bench.errors import InvalidInputError
from lico_bench.stats import MODEL_SCORES


@dataclass(frozen=True)
class RunFacts:
    """Facts of each metric by name, and the methods that know nothing of the model."""

    metrics: Mapping[str, Mapping[str, Any]]
    controls: frozenset[str] = frozenset()

    @classmethod
    def of(cls, scores: Any, metrics: Mapping[str, Mapping[str, Any]] | None = None) -> RunFacts:
        """What the manifest of `scores` says, or `metrics` where there is none."""
        manifest = scores.manifest() if hasattr(scores, "manifest") else {}
        own = {name: asdict(spec) for name, spec in MODEL_SCORES.items()}
        methods = manifest.get("methods", {})
        return cls(
            metrics=own | dict(metrics or manifest.get("metrics", {})),
            controls=frozenset(n for n, facts in methods.items() if facts.get("is_control")),
        )

    def direction(self, metric: str) -> bool | None:
        """Whether higher is better; None for a descriptive metric.

        Raises:
            InvalidInputError: for a metric of which nothing is known.
        """
        if metric not in self.metrics:
            raise InvalidInputError(
                f"metrics: expected a direction for each metric, got none for {metric}; "
                "pass metrics={name: {'higher_is_better': ...}} or a run folder"
            )
        found: bool | None = self.metrics[metric]["higher_is_better"]
        return found

    def judged(self, metric: str, method: str) -> bool:
        """Whether a score has a better and a worse: no description, no control's."""
        return self.direction(metric) is not None and method not in self.controls

    def may_judge(self, metric: str, method: str) -> bool:
        """The same where the metric is known, and True where it is not."""
        return metric not in self.metrics or self.judged(metric, method)

    def words(self, metric: str) -> dict[str, Any]:
        """Title, unit and direction, as a judgement tells them; empty where they are not known."""
        facts = self.metrics.get(metric, {})
        return {
            "title": str(facts.get("title", "")),
            "unit": str(facts.get("unit", "")),
            "higher_is_better": facts.get("higher_is_better"),
        }
