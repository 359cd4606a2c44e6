"""Verification of run folders: intact runs pass and recompute equally, any damage is found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from lico_bench.bench import Suite, execute, make_plan
from lico_bench.bench.executors import ExecutorOptions
from lico_bench.bench.recompute import CLASSIFIED, recompute_sample
from lico_bench.bench.verify_run import repair, verify_run
from lico_bench.errors import InvalidInputError, MissingDataError, RunBusyError
from lico_bench.store import (
    RunFolder,
    RunLock,
    read_json,
    read_parquet,
    seal_cell,
    write_json,
    write_parquet,
)
from tests.manifests import change_manifest


class SilentReporter:
    """Hears everything and keeps what must be known."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def __getattr__(self, _name: str):
        return lambda *_args, **_words: None


def tiny_suite() -> Suite:
    return Suite(
        ("cifar10",), arms=("baseline",), seeds=1, profile="smoke", data="standin", limit=4,
        methods=("grad_cam", "random_map"), metrics=("insertion", "pointing_game"),
        changes={"epochs": 1, "train_limit": 32, "batch_size": 32, "backbone": "wrn_10_1"},
    )  # fmt: skip


def execute_tiny(out: Path) -> SilentReporter:
    reporter = SilentReporter()
    execute(make_plan(tiny_suite()), out, options=ExecutorOptions(device="cpu"), reporter=reporter)
    return reporter


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    out = tmp_path_factory.mktemp("whole") / "run"
    execute_tiny(out)
    return RunFolder(out)


@pytest.fixture
def run(whole, tmp_path) -> RunFolder:
    shutil.copytree(whole.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


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
def test_rows_are_the_same_bits_with_as_many_threads_and_near_with_more(run):
    before = torch.get_num_threads()
    try:
        again = recompute_sample(run, 40)
        torch.set_num_threads(before + 1)
        others = recompute_sample(run, 40)
    finally:
        torch.set_num_threads(before)
    assert max(deviation.largest for deviation in again.deviations) == 0
    assert others.is_within


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


def test_rows_computed_again_are_the_stored_ones_bit_for_bit(whole):
    sampled = recompute_sample(whole, 60)
    assert sum(one.num_rows for one in sampled.deviations) == 60
    assert {one.metric for one in sampled.deviations} >= {"insertion", "flat_map", *CLASSIFIED}
    assert {one.largest for one in sampled.deviations} == {0.0}
    assert sampled.is_within


@pytest.mark.slow
def test_rows_of_other_weights_are_beyond_the_tolerance(run):
    cell = run.cell(run.finished()[0])
    weights = load_file(cell.model)
    name = next(n for n in weights if n.startswith("head") and weights[n].ndim == 2)
    weights[name] = -3 * weights[name] - 1
    save_file(weights, cell.model)
    sampled = recompute_sample(run, 60)
    assert not sampled.is_within
    assert max(one.largest for one in sampled.deviations) > 0.001


def test_sample_of_a_run_whose_data_are_elsewhere_says_so(run):
    change_manifest(run, lambda manifest: manifest["suite"].update(data="real"))
    with pytest.raises(MissingDataError, match=r"no row can be computed again here: cifar10: "):
        recompute_sample(run, 4)


def test_sample_of_own_models_says_where_they_are(run):
    change_manifest(run, lambda manifest: manifest["suite"].update(kind="own_models"))
    with pytest.raises(InvalidInputError, match="not the models; score them again"):
        recompute_sample(run, 4)
