"""Runs with another start."""

from __future__ import annotations

from tests.manifests import change_manifest

OLD, NEW = "lico_bench_1@1a2b3c4d", "lico_bench_1@99999999"


def dated(run, day, **changes):
    """The run with another start, and other facts, in its manifest."""
    changes["started"] = f"2026-11-{day:02d}T10:00:00+00:00"
    change_manifest(run, lambda manifest: manifest.update(changes))
    return run
