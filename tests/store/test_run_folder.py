from __future__ import annotations

import os

import pandas as pd
import pytest

from lico_bench.errors import BrokenFileError, MissingDataError, RunMismatchError
from lico_bench.records import ROW_COLUMNS
from lico_bench.store import RunFolder, newest_run, read_run, write_json, write_parquet
from tests.manifests import manifest_from


def manifest_of(key="abc", cells=("one", "two"), left_out=()):
    return manifest_from(
        {
            "left_out": list(left_out),
            "suite_key": key,
            "suite": {"datasets": ["cifar10"], "seeds": len(cells), "salt": key},
            "cells": [
                {"key": cell, "recipe": {"dataset": "cifar10", "arm": "lico", "seed": 0}}
                for cell in cells
            ],
        }
    )


def row(cell):
    return pd.DataFrame([dict.fromkeys(ROW_COLUMNS, "x") | {"cell": cell, "value": 0.5}])


def finish(run, cell):
    write_parquet(run.cell(cell).table("rows"), row(cell))
    write_json(run.cell(cell).path / "done.json", {"key": cell})


def test_only_finished_cells_are_read_in_the_order_of_the_manifest(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.open_for(manifest_of(cells=("b", "a", "c")))
    for cell in ("a", "b"):
        finish(run, cell)
    write_parquet(run.cell("c").table("rows"), row("c"))
    assert run.finished() == ["b", "a"]
    assert run.rows()["cell"].tolist() == ["b", "a"]


def test_same_suite_opens_again_and_another_is_refused(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.open_for(manifest_of())
    before = run.manifest_path.read_bytes()
    run.open_for(manifest_of())
    assert run.manifest_path.read_bytes() == before
    with pytest.raises(RunMismatchError, match=r"another suite \(differs in: salt\)"):
        run.open_for(manifest_of(key="other"))


def test_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunMismatchError, match="not a run folder"):
        RunFolder(tmp_path).open_for(manifest_of())
    assert not (tmp_path / "manifest.json").exists()


def test_run_without_a_finished_cell_says_what_to_do(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.open_for(manifest_of())
    with pytest.raises(MissingDataError, match="no finished cell yet"):
        run.rows()


def test_rows_of_another_version_are_refused(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.open_for(manifest_of())
    finish(run, "one")
    write_parquet(run.cell("one").table("rows"), row("one").drop(columns=["flag"]))
    with pytest.raises(BrokenFileError, match="columns missing: flag"):
        run.rows()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": 99, "cells": []}', "manifest of format 1"),
        ("[]", "does not match its checksum"),
        ("{}", "does not match its checksum"),
    ],
)
def test_manifest_of_another_format_or_of_none_is_refused(tmp_path, content, message):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BrokenFileError, match=message):
        read_run(tmp_path)


def test_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(MissingDataError, match="not a run folder"):
        read_run(tmp_path / "nothing")


def test_newest_run_is_the_one_whose_cells_changed_last(tmp_path):
    for age, name in ((300, "old"), (200, "new")):
        run = RunFolder(tmp_path / name)
        run.open_for(manifest_of(cells=("one",)))
        finish(run, "one")
        for path in (tmp_path / name).rglob("*"):
            os.utime(path, (1e9 - age, 1e9 - age))
    assert newest_run(tmp_path).path.name == "new"
    os.utime(tmp_path / "old" / "cells" / "one" / "rows.parquet", (1e9, 1e9))
    assert newest_run(tmp_path).path.name == "old"


def test_a_published_copy_is_no_newest_run(tmp_path):
    copy = RunFolder(tmp_path / "copy")
    copy.open_for(manifest_of(cells=("one",), left_out=("weights",)))
    finish(copy, "one")
    with pytest.raises(MissingDataError, match="no run under"):
        newest_run(tmp_path)
    run = RunFolder(tmp_path / "run")
    run.open_for(manifest_of(cells=("one",)))
    for path in (tmp_path / "run").rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert newest_run(tmp_path).path.name == "run"


def test_no_run_at_all_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingDataError, match="make one with `lico-bench run`"):
        newest_run(tmp_path / "results")
