"""Findings of registered and of wrong entries."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lico_bench.evaluation.known_answers import Finding, Scene, findings_of
from lico_bench.metrics import Metric
from lico_bench.records import MetricSpec


def described(findings: list[Finding], *verdicts: str) -> list[str]:
    return [
        f"{f.subject}: {f.check}: {f.measured:.4g}, limit {f.limit:.4g} ({f.detail})"
        for f in findings
        if f.verdict in verdicts
    ]


def failed_checks(name: str, scene: Scene) -> set[str]:
    return {f.check for f in findings_of(name, scene, is_alone=False) if f.verdict == "FAIL"}


SLOW = ("deletion", "deletion_lerf", "deletion_gap", "road", "road_lerf", "rise")


def entries(registry) -> list[object]:
    return [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in registry]


def metric_of(compute, **facts) -> Metric:
    spec = MetricSpec(
        name="wrong", title="Wrong", higher_is_better=True, bounds=(0.0, 1.0), unit="share",
        source="a test", needs=("maps", "regions"), category="localisation",
    )  # fmt: skip
    return Metric(replace(spec, **facts), compute)
