from __future__ import annotations

import os
from dataclasses import replace

import pytest
from stored_cells import finish, new_run

from lico_bench.store import write_bytes, write_json
from lico_bench.store.outputs import check_report, is_report_current, seal_report
from lico_bench.store.run_folder import write_manifest


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    run = new_run(tmp_path / "run", "one", "two")
    finish(run, "one")
    write_bytes(run.path / "report" / "tables" / "means.csv", b"1,2")
    return run


def test_report_is_current_until_a_cell_is_finished_or_fails(run):
    seal_report(run, run.path / "report", cells=["one"])
    assert is_report_current(run)
    write_json(run.cell("two").failure, {"sentence": "no memory"})
    assert not is_report_current(run)
    seal_report(run, run.path / "report", cells=["one"])
    assert is_report_current(run)
    finish(run, "two")
    assert not is_report_current(run)


def test_cell_that_was_finished_while_the_report_was_made_is_not_in_it(run):
    finish(run, "two")
    seal_report(run, run.path / "report", cells=["one"])
    assert not is_report_current(run)


@pytest.mark.parametrize("name", ["made_of.json", "tables/means.csv"])
def test_damaged_file_of_a_report_is_named_and_the_report_is_not_current(run, name):
    seal_report(run, run.path / "report", cells=["one"])
    path = run.path / "report" / name
    content = path.read_bytes()
    path.write_bytes(content[:1] + b"x" + content[2:])
    assert [damage.file for damage in check_report(run)] == [path]
    assert not is_report_current(run)


def test_report_shows_the_manifest_and_is_made_again_with_it(run):
    seal_report(run, run.path / "report", cells=["one"])
    write_manifest(run.manifest_path, replace(run.manifest(), started="2026-01-01T00:00:00+00:00"))
    assert not is_report_current(run)


def test_report_of_a_version_without_records_is_not_damaged_and_made_again(run):
    assert check_report(run) == ()
    assert not is_report_current(run)
