"""A report of a run whose tables cannot be read: one sentence that names the file."""

from __future__ import annotations

import shutil
import sys

import pandas as pd
import pyarrow.parquet as pq
import pytest

from lico_bench.cli import main
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.store import RunFolder, read_parquet, write_parquet
from tests.report.fake_run import make_run

TABLES = ("rows", "curves", "gallery", "history")


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def fill(path):
    path.write_bytes(b"not Parquet at all" * 50)


def replace_by_another_table(path):
    write_parquet(path, pd.DataFrame({"a": [1, 2]}))


def write_texts(path):
    """The right columns, and texts where numbers belong."""
    frame = read_parquet(path)
    column = next(name for name in ("value", "values", "map") if name in frame)
    write_parquet(path, frame.assign(**{column: "many"}))


def spoil_the_description(path):
    """No text in what pandas wrote of the columns."""
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"pandas": b"\xaa"}), path)


DAMAGES = [cut, fill, replace_by_another_table, write_texts, spoil_the_description]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small run with a report; only the last test may damage it."""
    run = make_run(
        tmp_path_factory.mktemp("bad") / "run", datasets={"cub200": "standin"}, seeds=1,
        num_test=12, num_explained=4,
    )  # fmt: skip
    (run.path / "report").mkdir()
    (run.path / "report" / "report.html").write_text("old")
    return run


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("table", TABLES)
def test_damaged_table_is_a_broken_file_that_is_named(whole, tmp_path, table, damage):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(whole.path, run.path)
    damaged = next(run.path.glob(f"cells/*/{table}.parquet"))
    damage(damaged)
    with pytest.raises(BrokenFileError) as caught:
        getattr(run, table)()
    assert str(damaged) in str(caught.value)


def test_missing_table_of_a_finished_cell_is_named_with_what_makes_it_anew(whole, tmp_path):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(whole.path, run.path)
    gone = next(run.path.glob("cells/*/rows.parquet"))
    gone.unlink()
    with pytest.raises(MissingDataError) as caught:
        run.rows()
    assert str(gone) in str(caught.value)
    assert f"delete {gone.parent / 'done.json'} and repeat" in str(caught.value)


def test_report_of_a_damaged_run_is_one_sentence_and_the_old_report_stays(
    whole, monkeypatch, capsys
):
    cut(next(whole.path.glob("cells/*/history.parquet")))  # the table that is read last
    monkeypatch.setattr(sys, "argv", ["lico-bench", "report", str(whole.path)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "history.parquet: damaged or not a Parquet file" in message
    assert (whole.path / "report" / "report.html").read_text() == "old"
    assert not [one for one in whole.path.iterdir() if one.name.startswith(".")]
