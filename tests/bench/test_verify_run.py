"""Verification of run folders: intact runs pass and recompute equally, any damage is found."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lico_bench.bench.verify_run import repair, verify_run
from lico_bench.errors import RunBusyError
from lico_bench.store import (
    RunFolder,
    RunLock,
    read_json,
    read_parquet,
    seal_cell,
    write_json,
    write_parquet,
)
from tests.bench.single_run import execute_tiny


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def reseal(run: RunFolder, key: str) -> None:
    """Make the checksums of a cell those of the files that are there now."""
    cell = run.cell(key)
    record = cell.record()
    sidecar = cell.model.with_name("model.safetensors.sha256")
    sidecar.unlink()
    cell.done.unlink()
    seal_cell(run, key, record)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_whole_run_is_found_whole_and_left_as_it_is(run):
    before = contents(run.path)
    found = verify_run(run)
    assert found.is_intact
    assert (found.cells, found.num_files) == (1, 8)
    assert found.num_bytes == sum(
        len(content)
        for name, content in before.items()
        if name.startswith("cells") and not name.endswith("done.json")
    )
    assert contents(run.path) == before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.parquet", "model.safetensors"])
def test_damage_is_found_repaired_and_made_anew_to_the_same_bits(run, whole, name):
    (key,) = run.finished()
    flip(run.cell(key).path / name)
    (run.path / "cells" / "stranger").mkdir()
    found = verify_run(run)
    named = {str(d.file.relative_to(run.path)) for d in found.damages}
    assert named == {f"cells/{key}/{name}", "cells/stranger"}
    places = repair(run, found)
    assert len(places) == 2
    assert all(place.exists() for place in places.values())
    execute_tiny(run.path)
    assert verify_run(run).is_intact
    for file in ("rows.parquet", "curves.parquet", "gallery.parquet", "model.safetensors"):
        made = (run.cell(key).path / file).read_bytes()
        assert made == (whole.cell(key).path / file).read_bytes()


def test_repeated_command_names_what_is_damaged_and_makes_it_anew(run, whole):
    cell = run.cell(run.finished()[0])
    flip(cell.table("curves"))
    run.manifest_path.write_bytes(run.manifest_path.read_bytes()[:100])
    notes = execute_tiny(run.path).notes
    assert any("manifest.json: its manifest is damaged" in note for note in notes)
    assert any("curves.parquet" in note and "moved to" in note for note in notes)
    assert (
        cell.table("curves").read_bytes() == whole.cell(cell.path.name).table("curves").read_bytes()
    )
    assert verify_run(run).is_intact


def test_damaged_manifest_hides_no_other_damage(run):
    cell = run.cell(run.finished()[0])
    flip(cell.model)
    flip(run.manifest_path)
    named = {d.file.name for d in verify_run(run).damages}
    assert named == {"manifest.json", "model.safetensors"}


@pytest.mark.parametrize("wrong", ["cell", "pair", "twice", "fewer", "column"])
def test_rows_that_are_whole_and_wrong_are_found(run, wrong):
    cell = run.cell(run.finished()[0])
    rows = read_parquet(cell.table("rows"))
    changed = {
        "cell": lambda: rows.assign(cell="another"),
        "pair": lambda: rows.assign(pair="another"),
        "twice": lambda: pd.concat([rows.iloc[:-1], rows.iloc[:1]]),
        "fewer": lambda: rows.iloc[1:],
        "column": lambda: rows.drop(columns=["flag"]),
    }[wrong]()
    write_parquet(cell.table("rows"), changed)
    reseal(run, cell.path.name)
    damages = verify_run(run).damages
    assert [d.file for d in damages] == [cell.table("rows")]
    expected = {
        "cell": "rows of another cell", "pair": "rows of another pair", "twice": "1 rows occur twi",
        "fewer": "rows instead of", "column": "columns missing: flag",
    }  # fmt: skip
    assert expected[wrong] in damages[0].problem


def test_weights_that_no_library_reads_are_found(run):
    cell = run.cell(run.finished()[0])
    cell.model.write_bytes(b"no weights")
    reseal(run, cell.path.name)
    assert [d.file for d in verify_run(run).damages] == [cell.model]


def test_run_of_a_version_without_checksums_says_that_it_has_none(run):
    for key in run.finished():
        cell = run.cell(key)
        facts = read_json(cell.done)
        write_json(cell.done, {n: v for n, v in facts.items() if n not in ("files", "seal")})
    found = verify_run(run)
    assert found.is_intact
    assert found.unchecked == run.finished()
    assert len(run.rows()) > 0


def test_nothing_is_repaired_while_another_process_is_at_work(run):
    flip(run.cell(run.finished()[0]).model)
    with RunLock(run.path):
        found = verify_run(run)
        assert "process" in found.busy
        with pytest.raises(RunBusyError):
            repair(run, found)
