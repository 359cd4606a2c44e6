from __future__ import annotations

import json
import os

import pandas as pd
import pytest
from fake_run import make_run

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.report import build_report, current_report
from lico_bench.stats import paired_differences
from lico_bench.store import RunFolder, read_json, write_json


@pytest.fixture
def small_run(tmp_path):
    return make_run(
        tmp_path / "run", datasets={"cub200": "standin"}, seeds=1, num_test=30, num_explained=10
    )


def test_report_holds_what_its_paths_say_and_nothing_else(run, report):
    written = {path for path in report.folder.rglob("*") if path.is_file()}
    record = report.folder / "made_of.json"
    assert written == {report.html, report.verdicts, record, *report.tables, *report.figures}
    assert {path.suffix for path in report.figures} == {".png", ".pdf"}
    tables = {"all.tex", "means.csv", "class_means.csv", "differences.csv"}
    assert {path.name for path in report.tables} >= tables
    assert sorted(one.name for one in run.path.iterdir()) == [
        "cells", "manifest.json", "report",
    ]  # fmt: skip


def test_verdicts_carry_value_interval_protocol_and_source(run, report):
    verdicts = json.loads(report.verdicts.read_text())
    expected = paired_differences(run.rows()).set_index(["dataset", "method", "metric"])
    every = [one for one in verdicts["results"] if one["subset"] == "all"]
    assert len(every) == len(expected)
    for one in every:
        row = expected.loc[(one["dataset"], one["method"], one["metric"])]
        for name in ("difference", "low", "high", "seed_part", "image_part"):
            assert one[name] == pytest.approx(row[name])
        assert (one["source"], one["protocol"]) == (row["source"], row["protocol"])


def test_csv_holds_the_same_numbers(run, report):
    table = pd.read_csv(report.folder / "tables" / "differences.csv", keep_default_na=False)
    expected = paired_differences(run.rows())
    every = table[table["subset"] == "all"]
    assert every["difference"].astype(float).tolist() == pytest.approx(
        expected["difference"].tolist(), abs=1e-6
    )


def test_means_of_classes_are_those_of_maps_for_a_model_alone_has_no_explained_class(report):
    table = pd.read_csv(report.folder / "tables" / "class_means.csv", keep_default_na=False)
    assert set(table["method"]) == {"grad_cam", "random_map"}
    assert "pointing_game" in set(table["metric"])


@pytest.mark.slow
def test_older_report_is_replaced_whole_and_kept_if_the_new_one_fails(small_run):
    stale = small_run.path / "report" / "figures" / "stale.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"x")
    page = build_report(small_run).html.read_bytes()
    assert not stale.exists()
    verdicts = json.loads((small_run.path / "report" / "verdicts.json").read_text())
    assert verdicts["results"][0]["seed_part"] is None  # JSON knows no NaN
    key = small_run.finished()[0]
    curves = small_run.cell(key).table("curves")
    curves.write_bytes(curves.read_bytes()[:100])
    with pytest.raises(BrokenFileError, match="damaged or not a Parquet file"):
        build_report(small_run)
    assert (small_run.path / "report" / "report.html").read_bytes() == page
    assert not [one for one in small_run.path.iterdir() if one.name.startswith(".")]


def test_run_without_a_finished_cell_says_so(tmp_path, small_run):
    empty = RunFolder(tmp_path / "empty")
    empty.open_for(small_run.manifest())
    with pytest.raises(MissingDataError, match="no finished cell yet"):
        build_report(empty)
    assert not (empty.path / "report").exists()


@pytest.mark.slow
def test_a_report_is_current_while_it_is_whole_and_until_a_cell_is_stored_anew(small_run):
    assert current_report(small_run) is None
    built = build_report(small_run)
    assert current_report(small_run) == built
    page = built.html.read_bytes()
    built.html.write_bytes(page[:100] + b"!" + page[101:])
    assert current_report(small_run) is None
    built.html.write_bytes(page)
    done = small_run.cell(small_run.finished()[0]).path / "done.json"
    os.utime(done, (4e9, 4e9))  # clocks jump; they decide nothing
    assert current_report(small_run) == built
    write_json(done, read_json(done) | {"elapsed_s": 1.0})
    os.utime(done, (1e9, 1e9))
    assert current_report(small_run) is None
