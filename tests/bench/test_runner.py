"""A whole run on disk: written once, resumed, never mixed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lico_bench.bench import execute, make_plan
from lico_bench.errors import BrokenFileError, RunMismatchError, TrainingError
from lico_bench.records import ROW_COLUMNS

FILES = {
    "recipe.json", "model.safetensors", "history.parquet", "findings.json", "rows.parquet",
    "curves.parquet", "gallery.parquet", "done.json",
}  # fmt: skip


def run(suite, reporter, out: Path = Path("run")):
    return execute(make_plan(suite), out, device="cpu", executor="local", reporter=reporter)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rows_of(folder):
    return folder.rows().sort_values(list(ROW_COLUMNS[:-2])).reset_index(drop=True)


def test_a_run_writes_the_stable_layout(suite, reporter):
    folder = run(suite, reporter)
    cells = list((folder.path / "cells").iterdir())
    assert len(cells) == 2
    assert all({p.name for p in cell.iterdir()} == FILES for cell in cells)
    assert set(folder.rows().arm) == {"baseline", "lico"}
    assert set(folder.rows().source) == {"standin"}
    # The text side of lico is gone when it is trained: both classifiers cost the same.
    assert len(folder.inference()) == 2
    assert len(folder.inference()[["parameters", "gigaflop"]].drop_duplicates()) == 1
    assert not [p for p in folder.path.rglob("*") if p.name.endswith(".part")]


def test_a_second_run_changes_nothing_and_trains_nothing(suite, reporter):
    folder = run(suite, reporter)
    before = contents(folder.path)
    reporter.events.clear()
    run(suite, reporter)
    assert contents(folder.path) == before
    assert len(reporter.of("skip")) == 2
    assert not reporter.of("stage")


class InterruptionError(Exception):
    """Stands for a kill at a chosen moment."""


def test_an_interrupted_run_goes_on_to_the_same_rows_and_weights(suite, reporter):
    whole = run(suite, reporter, Path("whole"))
    for moment in (1, 14):
        interrupt(suite, type(reporter)(), Path(f"part{moment}"), moment)
        finished = run(suite, type(reporter)(), Path(f"part{moment}"))
        assert rows_of(finished).equals(rows_of(whole))
        for cell in whole.finished():
            assert whole.cell(cell).model.read_bytes() == finished.cell(cell).model.read_bytes()
            assert not finished.cell(cell).checkpoint.exists()
            assert not finished.cell(cell).parts.exists()


def interrupt(suite, reporter, folder: Path, moment: int) -> None:
    steps = 0

    def stop(_done, _total):
        nonlocal steps
        steps += 1
        if steps == moment:
            raise InterruptionError

    reporter.advance = stop
    with pytest.raises(InterruptionError):
        run(suite, reporter, folder)


def test_scoring_that_was_interrupted_does_not_train_again(suite, reporter):
    folder = run(suite, reporter)
    cell = folder.cell(folder.finished()[0])
    rows, weights = cell.table("rows").read_bytes(), cell.model.stat().st_mtime_ns
    (cell.path / "done.json").unlink()
    cell.table("rows").unlink()
    run(suite, reporter)
    assert cell.table("rows").read_bytes() == rows
    assert cell.model.stat().st_mtime_ns == weights


def test_another_suite_is_refused_and_nothing_is_changed(suite, reporter):
    folder = run(suite, reporter)
    before = contents(folder.path)
    with pytest.raises(RunMismatchError, match=r"another suite \(differs in: limit\)"):
        run(replace(suite, limit=5), reporter)
    assert contents(folder.path) == before


def test_a_folder_that_is_no_run_is_refused(suite, reporter):
    Path("run").mkdir()
    Path("run/thesis.tex").write_text("mine")
    with pytest.raises(RunMismatchError, match="is not a run folder"):
        run(suite, reporter)
    assert [p.name for p in Path("run").iterdir()] == ["thesis.tex"]


def test_a_training_that_diverges_stores_no_half_cell(suite, reporter):
    hot = replace(suite, changes={**suite.changes, "learning_rate": 1e30, "schedule": "constant"})
    with pytest.raises(TrainingError, match="the loss is not finite"):
        run(hot, reporter)
    stored = {p.name for p in Path("run/cells").rglob("*") if p.is_file()}
    assert stored <= {"recipe.json", "checkpoint.pt"}


def test_a_torn_checkpoint_is_named(suite, reporter):
    plan = make_plan(suite)
    path = Path("run/cells") / plan.cells[0].key / "checkpoint.pt"
    run(replace(suite, arms=("lico",)), reporter, Path("other"))  # warms what is cached
    Path("run").mkdir()
    Path("run/manifest.json").write_text(json.dumps({"format": 1, **plan.manifest()}))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK torn")
    with pytest.raises(BrokenFileError, match="not a whole checkpoint"):
        run(suite, reporter)


def test_the_reporter_hears_the_whole_course(suite, reporter):
    run(suite, reporter)
    assert reporter.events[0][:2] == ("begin", 2)
    assert reporter.events[-1] == ("end",)
    assert [event[2] for event in reporter.of("stage")] == ["training", "scoring"] * 2
    assert len(reporter.of("finish")) == 2
