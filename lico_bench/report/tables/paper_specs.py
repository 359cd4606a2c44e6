"""Structure of the paper's tables and display names of published values, read from `paper.toml`.

Values of a run bring their own names. This package must not import the registries and dataset
cards; tests check that the names agree with them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lico_bench.records import MetricSpec
from lico_bench.report.content import ReportContent
from lico_bench.stats import MODEL_SCORES

PAIR = ("baseline", "lico")
# Option of LICO, as in `--set objective.NAME=VALUE`.
TOKENS = "num_context"


@dataclass(frozen=True)
class TableSpec:
    """Structure of a table of the paper; the fields are described in `paper.toml`."""

    name: str
    title: str
    caption: str
    by: tuple[str, ...]
    across: tuple[str, ...]
    metrics: tuple[str, ...]
    arms: tuple[str, ...] = PAIR
    needs: tuple[str, ...] = ()
    blocks: str = "any"
    per_dataset: bool = False

    @property
    def is_pair(self) -> bool:
        """Whether the table compares LICO (any variant) with the baseline."""
        return self.arms == PAIR


def _table_spec(facts: Mapping[str, Any]) -> TableSpec:
    lists = {name: tuple(fact) for name, fact in facts.items() if isinstance(fact, list)}
    return TableSpec(**{**facts, **lists})


_PAPER: dict[str, Any] = tomllib.loads(
    (Path(__file__).parent / "paper.toml").read_text(encoding="utf-8")
)
TABLE_SPECS = tuple(map(_table_spec, _PAPER["table"]))
HEADERS: dict[str, str] = _PAPER["headers"]
ARMS: dict[str, str] = _PAPER["arms"]
METHODS: dict[str, str] = _PAPER["methods"]
DATASETS: dict[str, str] = _PAPER["datasets"]
SPECS = {"accuracy": MODEL_SCORES["accuracy"]} | {
    name: MetricSpec(name=name, source="", **(facts | {"bounds": tuple(facts["bounds"])}))
    for name, facts in _PAPER["metrics"].items()
}


def spec_of(content: ReportContent, metric: str) -> MetricSpec:
    """Return the spec of a metric from the run, or the default spec if it was not measured."""
    return content.specs.get(metric) or SPECS[metric]


def method_title(content: ReportContent, method: str) -> str:
    """Return the display name of a method."""
    return METHODS.get(method) or content.method_title(method)


def dataset_title(content: ReportContent, dataset: str) -> str:
    """Return the display name of a real dataset."""
    facts = content.manifest.datasets.get(dataset)
    return DATASETS.get(dataset) or (dataset if facts is None else facts.title)
