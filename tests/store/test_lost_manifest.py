"""A damaged or lost manifest is written again if the other files belong to the same suite."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest
from stored_cells import SUITE_KEY, finish, manifest_of, new_run, score, train

from lico_bench.errors import BrokenFileError, RunMismatchError
from lico_bench.store import RunFolder, read_run, write_json
from lico_bench.store.codec import encode


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch):
    """Skip fsync, which takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


@pytest.fixture
def run(tmp_path):
    return new_run(tmp_path / "run", "one", "two")


def damage_number(run: RunFolder) -> None:
    text = run.manifest_path.read_text()
    run.manifest_path.write_text(re.sub('"salt": "0', '"salt": "1', text))


def tear(run: RunFolder) -> None:
    run.manifest_path.write_bytes(run.manifest_path.read_bytes()[:20])


def empty(run: RunFolder) -> None:
    run.manifest_path.write_text("{}")


def replace_by_list(run: RunFolder) -> None:
    run.manifest_path.write_text("[1]")


def lose(run: RunFolder) -> None:
    run.manifest_path.unlink()


DAMAGES = (damage_number, tear, empty, replace_by_list, lose)


def test_manifest_comes_back_without_its_seal(run):
    assert run.manifest() == manifest_of("one", "two")
    assert "seal" in json.loads(run.manifest_path.read_text())


@pytest.mark.parametrize("damage", DAMAGES[:-1])
def test_changed_manifest_is_reported_on_reading(run, damage):
    damage(run)
    with pytest.raises(BrokenFileError, match=r"manifest\.json"):
        read_run(run.path)


def test_manifest_of_a_version_without_seals_is_read(run):
    write_json(run.manifest_path, {"format": 1, **encode(manifest_of("one", "two"))})
    assert run.manifest().suite_key == SUITE_KEY


@pytest.mark.parametrize("damage", DAMAGES)
def test_manifest_is_written_again_if_a_finished_cell_names_the_suite(run, damage):
    finish(run, "one")
    before = run.manifest()
    damage(run)
    repaired = run.open_for(manifest_of("one", "two"))
    assert len(repaired) == 1
    assert "written again" in repaired[0]
    assert run.manifest() == before
    assert run.finished() == ["one"]
    assert (run.damaged / "manifest.json").is_file() == (damage is not lose)
    assert run.open_for(manifest_of("one", "two")) == ()


@pytest.mark.parametrize("damage", DAMAGES)
def test_another_suite_does_not_take_the_folder_over(run, damage):
    finish(run, "one")
    damage(run)
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    with pytest.raises(RunMismatchError, match="holds another suite"):
        run.open_for(manifest_of("one", "two", key="ba9876543210"))
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("damage", [tear, lose])
def test_weights_stay_and_parts_are_quarantined_without_a_known_suite(run, damage):
    train(run, "one")
    cell = score(run, "one")
    damage(run)
    run.open_for(manifest_of("one", "two"))
    assert cell.model.is_file()
    assert not cell.parts.exists()
    assert (run.damaged / "one" / "parts").is_dir()


def test_finished_cells_that_name_no_suite_are_not_guessed_at(run):
    cell = finish(run, "one")
    write_json(cell.done, {"key": "one"})
    tear(run)
    with pytest.raises(BrokenFileError, match="no file records the suite"):
        run.open_for(manifest_of("one", "two"))


def test_folder_with_a_lost_manifest_and_other_things_is_refused(run):
    finish(run, "one")
    lose(run)
    (run.path / "thesis.tex").write_text("mine")
    with pytest.raises(RunMismatchError, match="not a run folder"):
        run.open_for(manifest_of("one", "two"))


def test_folder_with_only_a_lock_is_free(tmp_path):
    (tmp_path / "lock").write_text("")
    RunFolder(tmp_path).open_for(manifest_of("one"))
    assert RunFolder(tmp_path).manifest().suite_key == SUITE_KEY


def test_cells_of_another_run_do_not_make_a_folder_ours(run, tmp_path):
    finish(run, "one")
    shutil.copytree(run.path / "cells", tmp_path / "other" / "cells")
    with pytest.raises(RunMismatchError):
        RunFolder(tmp_path / "other").open_for(manifest_of("three"))
