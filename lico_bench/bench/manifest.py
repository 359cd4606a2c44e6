"""Build the manifest of a run: its suite, cells and datasets and the definition of every name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from lico_bench.evaluation import EvalConfig
from lico_bench.records import DatasetFacts
from lico_bench.registry import keyword_defaults
from lico_bench.runtime import versions
from lico_bench.saliency import SaliencyMethod
from lico_bench.store.run_records import (
    ArmRecord,
    CellEntry,
    Manifest,
    MethodRecord,
    SuiteRecord,
)
from lico_bench.training.arms import Arm


def build_manifest(
    suite: SuiteRecord,
    *,
    key: str,
    datasets: Mapping[str, DatasetFacts],
    eval_config: EvalConfig,
    arms: Mapping[str, ArmRecord],
    cells: Iterable[CellEntry],
) -> Manifest:
    """Return the manifest of a run that starts now with the installed software versions."""
    protocol = eval_config.protocol
    rules: dict[str, Any] = {protocol.id: {**protocol.rules, "source": protocol.source}}
    for metric in eval_config.resolved_metrics.values():
        if metric.spec.protocol:
            rules[metric.spec.protocol] = metric.rules
    return Manifest(
        suite_key=key,
        suite=suite,
        datasets=datasets,
        metrics={name: entry.spec for name, entry in eval_config.resolved_metrics.items()},
        methods={
            name: _method_record(entry) for name, entry in eval_config.resolved_methods.items()
        },
        protocols=rules,
        arms=arms,
        cells=tuple(cells),
        versions=versions(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def arm_record(arm: Arm) -> ArmRecord:
    """Return the manifest entry of an arm that is trained in the run."""
    names = [f.name for f in fields(arm) if f.name not in ("build", "options")]
    return ArmRecord.of({name: getattr(arm, name) for name in names})


def _method_record(entry: SaliencyMethod) -> MethodRecord:
    return MethodRecord(
        title=entry.title,
        source=entry.source,
        is_control=entry.is_control,
        other={
            "family": entry.family,
            "is_signed": entry.is_signed,
            "pitfalls": entry.pitfalls,
            "options": keyword_defaults(entry.compute),
        },
    )
