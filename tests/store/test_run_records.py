"""The records in the files of a run folder, on those of the published study."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from lico_bench.store.codec import decode, encode, json_schema
from lico_bench.store.files import json_bytes, read_json
from lico_bench.store.run_records import CellEntry, CellRecord, Failure, Findings, Manifest

FILE = Path("run/file.json")
REFERENCE = Path(__file__).parents[2] / "results" / "reference"
STORED = {
    "manifest.json": Manifest,
    "cells/*/done.json": CellRecord,
    "cells/*/findings.json": Findings,
    "cells/*/recipe.json": CellEntry,
}


@pytest.mark.parametrize("pattern", STORED)
def test_files_of_the_published_study_are_read_and_written_unchanged(pattern):
    paths = sorted(REFERENCE.glob(pattern))
    assert paths
    for path in paths:
        assert json_bytes(decode(STORED[pattern], read_json(path), path)) == path.read_bytes()


@pytest.mark.parametrize("pattern", STORED)
def test_files_of_the_published_study_match_the_schema(pattern):
    schema = json_schema(STORED[pattern])
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in sorted(REFERENCE.glob(pattern))[:5]:
        content = read_json(path)
        validator.validate(content)
        for name in schema["required"]:
            assert not validator.is_valid({k: v for k, v in content.items() if k != name})


def test_failure_of_a_cell_keeps_the_lines_of_its_traceback():
    content = {"stage": "training", "sentence": "it broke", "traceback": "a\nb"}
    failure = decode(Failure, content, FILE)
    assert failure.traceback == "a\nb"
    assert encode(failure) == content | {"error": "", "when": ""}
