"""Damaged files of a cell are found and quarantined, and the rest suffices to rebuild them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from stored_cells import PARTS, finish, new_run, score, train

from lico_bench.errors import BrokenFileError, InvalidInputError
from lico_bench.store import (
    Damage,
    RunFolder,
    check_cell,
    quarantine_damage,
    repair_cell,
    seal_cell,
    write_json,
)
from lico_bench.store.files import read_json, sealed
from lico_bench.store.run_records import CellRecord

FINISHED = (
    "recipe.json", "model.safetensors", "model.safetensors.sha256", "history.parquet",
    "findings.json", "rows.parquet", "curves.parquet", "gallery.parquet", "done.json",
)  # fmt: skip
TRAINING = ("model.safetensors", "model.safetensors.sha256", "history.parquet", "findings.json")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_foreign(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


DAMAGES = (flip, cut, empty, replace_by_foreign, Path.unlink)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run whose cells are finished."""
    run = new_run(tmp_path_factory.mktemp("whole") / "run", "one", "two")
    for key in ("one", "two"):
        finish(run, key)
    return run


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run whose cells are scored but not merged."""
    run = new_run(tmp_path_factory.mktemp("scored") / "run", "one", "two")
    for key in ("one", "two"):
        train(run, key)
        score(run, key)
    return run


@pytest.fixture
def run(tmp_path):
    return new_run(tmp_path / "run", "one", "two")


@pytest.fixture
def finished(whole, tmp_path):
    return copy_of(whole, tmp_path)


@pytest.fixture
def unfinished(scored, tmp_path):
    return copy_of(scored, tmp_path)


def copy_of(run: RunFolder, folder: Path) -> RunFolder:
    shutil.copytree(run.path, folder / "copy")
    return RunFolder(folder / "copy")


@pytest.fixture(autouse=True, scope="module")
def _unsynced():
    """Skip fsync, which takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_finished_cell_has_exactly_the_files_of_the_layout_and_nothing_is_wrong(finished):
    cell = finished.cell("one")
    assert names(cell.path) == set(FINISHED)
    assert check_cell(cell) == repair_cell(finished, "one") == ()
    assert set(cell.record().files or {}) == set(FINISHED) - {"done.json"}


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize("name", FINISHED)
def test_damage_to_a_finished_cell_is_named_and_quarantined(finished, name, damage):
    cell = finished.cell("one")
    damage(cell.path / name)
    if not cell.is_done:  # a cell without a record is unfinished, not damaged
        assert repair_cell(finished, "one") == ()
        return
    found = repair_cell(finished, "one")
    assert found[0].file == cell.path / name
    assert check_cell(cell) == ()
    if damage is not Path.unlink:
        assert (finished.damaged / "one" / name).is_file()
    assert cell.is_done == (name == "recipe.json")  # the manifest holds a copy
    assert cell.model.is_file() == (name not in TRAINING)


@pytest.mark.parametrize("name", FINISHED)
def test_what_remains_of_a_damaged_cell_makes_it_again(finished, name):
    cell = finished.cell("one")
    before = {n: (cell.path / n).read_bytes() for n in FINISHED if n != "done.json"}
    flip(cell.path / name)
    repair_cell(finished, "one")
    if not cell.is_done:
        if not cell.model.is_file():
            train(finished, "one")
        score(finished, "one")
        seal_cell(finished, "one", CellRecord(rows=cell.merge_parts()))
    assert {n: (cell.path / n).read_bytes() for n in before} == before
    assert check_cell(cell) == ()


def test_another_cell_is_left_alone(finished):
    other = finished.cell("two")
    flip(finished.cell("one").table("rows"))
    repair_cell(finished, "one")
    assert check_cell(other) == ()
    assert other.is_done


def test_sizes_alone_find_a_truncated_file_and_not_a_flipped_one(finished):
    cell = finished.cell("one")
    flip(cell.table("rows"))
    assert check_cell(cell, hashes=False) == ()
    cut(cell.table("curves"))
    assert [d.file.name for d in check_cell(cell, hashes=False)] == ["curves.parquet"]


def test_foreign_file_is_quarantined_and_the_cell_stays_finished(finished):
    cell = finished.cell("one")
    (cell.path / "notes.txt").write_text("mine")
    (cell.path / ".nfs0001").write_text("the file system's")
    assert [d.file.name for d in repair_cell(finished, "one")] == ["notes.txt"]
    assert cell.is_done
    assert (finished.damaged / "one" / "notes.txt").read_text() == "mine"


def test_tables_of_another_cell_are_not_taken_for_this_ones(finished):
    cell, other = finished.cell("one"), finished.cell("two")
    for name in FINISHED:
        shutil.copy(other.path / name, cell.path / name)
    assert [d.file.name for d in check_cell(cell)] == ["done.json"]
    assert "of another cell, two" in str(check_cell(cell)[0])


def test_damaged_weights_take_the_scores_with_them(unfinished):
    cell = unfinished.cell("one")
    flip(cell.model)
    repair_cell(unfinished, "one")
    assert names(cell.path) == {"recipe.json"}
    assert {p.name for p in (unfinished.damaged / "one").iterdir()} == {*TRAINING, "parts"}


@pytest.mark.parametrize("damage", DAMAGES[:-1])
@pytest.mark.parametrize("table", ["rows", "curves", "gallery"])
def test_damaged_part_is_quarantined_alone(unfinished, table, damage):
    cell = unfinished.cell("one")
    before = names(cell.path)
    damage(cell.parts / f"{PARTS[1]}.{table}.parquet")
    assert [d.file.name for d in repair_cell(unfinished, "one")] == [f"{PARTS[1]}.{table}.parquet"]
    lost = {f"parts/{PARTS[1]}.{name}.parquet" for name in ("rows", "curves", "gallery")}
    assert names(cell.path) == before - lost
    assert cell.part_rows(PARTS[1]) is None
    assert cell.part_rows(PARTS[2]) is not None


def test_part_of_another_cell_or_name_is_not_joined(unfinished):
    cell, other = unfinished.cell("one"), unfinished.cell("two")
    rows = f"{PARTS[1]}.rows.parquet"
    shutil.copy(cell.parts / rows, cell.parts / f"copy of {rows}")
    shutil.copy(other.parts / rows, cell.parts / rows)
    assert cell.merge_parts() == 2 * len(PARTS)
    found = {d.file.name: d.problem for d in repair_cell(unfinished, "one")}
    assert found == {f"copy of {rows}": "not a file of this cell", rows: "scores of another cell"}


def test_damaged_checkpoint_is_replaced_by_the_previous_one(run):
    cell = run.cell("one")
    for state in (b"first state", b"second state"):
        cell.write_checkpoint(state)
    assert check_cell(cell) == ()
    flip(cell.checkpoint)
    assert [d.file for d in repair_cell(run, "one")] == [cell.checkpoint]
    assert cell.checkpoint.read_bytes() == b"first state"
    assert not cell.previous_checkpoint.exists()
    flip(cell.checkpoint)
    repair_cell(run, "one")
    assert not cell.checkpoint.exists()
    assert len(list((run.damaged / "one").iterdir())) == 2


@pytest.mark.parametrize("moment", ["before it", "after it"])
def test_kill_around_the_renaming_of_a_checkpoint_is_no_damage(run, monkeypatch, moment):
    cell = run.cell("one")
    cell.write_checkpoint(b"first state")
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target != cell.checkpoint:
            return replace(path, target)
        if moment == "after it":
            replace(path, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        cell.write_checkpoint(b"second state")
    monkeypatch.undo()
    assert check_cell(cell) == ()
    expected = b"first state" if moment == "before it" else b"second state"
    assert cell.checkpoint.read_bytes() == expected


def test_checkpoints_are_gone_when_the_training_is_done(run):
    cell = run.cell("one")
    for _ in range(2):
        cell.write_checkpoint(b"state")
    train(run, "one")
    assert not [name for name in names(cell.path) if "checkpoint" in name]


def test_cell_is_not_sealed_over_damaged_weights(unfinished):
    cell = unfinished.cell("one")
    flip(cell.model)
    with pytest.raises(BrokenFileError, match="damaged while its cell was scored"):
        seal_cell(unfinished, "one", CellRecord(rows=cell.merge_parts()))
    assert not cell.is_done


def test_cell_of_a_version_without_checksums_is_not_damaged(finished):
    cell = finished.cell("one")
    write_json(cell.done, {"key": "one", "rows": 6})
    assert check_cell(cell) == ()
    cell.table("rows").unlink()
    assert [d.problem for d in repair_cell(finished, "one")] == ["missing"]
    assert not cell.is_done


def test_record_that_lists_files_elsewhere_is_damaged_and_nothing_there_is_moved(finished):
    cell, outside = finished.cell("one"), finished.path.parent / "thesis.tex"
    outside.write_text("mine")
    content = read_json(cell.done)
    content["files"]["../../../thesis.tex"] = {"sha256": "0", "bytes": 0}
    write_json(cell.done, sealed(content))
    repair_cell(finished, "one")
    assert outside.read_text() == "mine"


def test_linked_folder_is_named_and_not_followed(run):
    outside = run.path.parent / "thesis"
    outside.mkdir()
    (outside / "thesis.tex").write_text("mine")
    (run.path / "cells").mkdir()
    (run.path / "cells" / "one").symlink_to(outside)
    with pytest.raises(BrokenFileError, match="got a link"):
        repair_cell(run, "one")
    assert (outside / "thesis.tex").read_text() == "mine"


def test_file_outside_the_cells_is_not_quarantined(run):
    with pytest.raises(InvalidInputError, match="expected a file below"):
        quarantine_damage(run, Damage(run.manifest_path, "any"))


def test_quarantined_files_are_not_overwritten(run):
    for _ in range(3):
        cell = finish(run, "one")
        flip(cell.table("rows"))
        repair_cell(run, "one")
    found = {p.name for p in (run.damaged / "one").glob("rows*")}
    assert found == {"rows.parquet", "rows.parquet.2", "rows.parquet.3"}
