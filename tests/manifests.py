"""Manifests for tests, from the values that a test is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lico_bench.store import RunFolder, read_json, write_json
from lico_bench.store.codec import decode
from lico_bench.store.run_records import Manifest

DATASET = {
    "source": "real", "found": {}, "class_names": [], "prompt_names": [], "image_size": [32, 32],
    "has_regions": False, "notes": [], "fingerprint": "0123456789ab",
}  # fmt: skip
METRIC = {"higher_is_better": None, "bounds": [None, None], "unit": "share", "source": "nobody"}


def manifest_from(content: Mapping[str, Any]) -> Manifest:
    """Return the manifest with these JSON values; required fields get arbitrary ones."""
    whole: dict[str, Any] = {"suite_key": "0123456789ab", "suite": {}, "cells": [], **content}
    for kind, facts in (("datasets", DATASET), ("metrics", METRIC)):
        whole[kind] = {
            name: {"name": name, "title": name, **facts, **given}
            for name, given in whole.get(kind, {}).items()
        }
    return decode(Manifest, whole, Path("manifest.json"))


def change_manifest(run: RunFolder, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON values of a run's manifest, which is written without a seal."""
    content = read_json(run.manifest_path)
    content.pop("seal", None)
    change(content)
    write_json(run.manifest_path, content)
