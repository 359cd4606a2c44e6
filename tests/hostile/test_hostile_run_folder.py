"""Untrusted run folders: commands give a result or an error message, and nothing is executed."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fake_run import make_run
from mutations import ODD_VALUES, spoilt_value

from lico_bench.checks import is_single_line
from lico_bench.cli import main
from lico_bench.errors import BrokenFileError, LicoBenchError
from lico_bench.report import build_report
from lico_bench.store import RunFolder, RunLock, read_run
from lico_bench.store.files import quarantine, sealed
from tests.data.miniatures import paint

OUT = "../../../canary"
PARTS = ["datasets", "methods", "arms", "metrics", "protocols", "versions", "suite", "cells"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small run; tests copy it."""
    folder = tmp_path_factory.mktemp("foreign") / "run"
    return make_run(folder, datasets={"cub200": "standin"}, seeds=1, num_test=6, num_explained=3)


@pytest.fixture
def run(whole, tmp_path, canary):
    """A copy of the run, next to a folder that must not change."""
    copy = tmp_path / "runs" / "foreign"
    shutil.copytree(whole.path, copy)
    return RunFolder(copy)


def rewrite(run: RunFolder, change: Any) -> None:
    """Change the manifest and write it with a valid seal."""
    manifest = json.loads(run.manifest_path.read_text())
    manifest.pop("seal", None)
    changed = change(manifest)
    changed = manifest if changed is None else changed
    try:
        changed = sealed(changed)
    except (AttributeError, ValueError):
        changed = {**changed, "seal": "0" * 64} if isinstance(changed, dict) else changed
    run.manifest_path.write_text(json.dumps(changed))


def call(monkeypatch, capsys, *words: object) -> tuple[int, str]:
    """Return the exit code of a command and its error message."""
    monkeypatch.setattr(sys, "argv", ["lico-bench", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err


def put(*path: Any, value: Any) -> Any:
    """Return a change that sets a value at a path of the manifest."""

    def change(manifest: Any) -> None:
        for step in path[:-1]:
            manifest = manifest[step]
        manifest[path[-1]] = value

    return change


CHANGES = {
    "a key that leads out": put("cells", 0, "key", value=OUT),
    "an absolute key": put("cells", 0, "key", value="/etc"),
    "a key of dots": put("cells", 0, "key", value=".."),
    "a key with an escape": put("cells", 0, "key", value="x\x1b[2J"),
    "no key": lambda m: m["cells"][0].pop("key") and None,
    "no recipe": lambda m: m["cells"][0].pop("recipe") and None,
    "a number for cells": put("cells", value=7),
    "a text for a cell": put("cells", 0, value="cell"),
    "a data set that leads out": put("cells", 0, "recipe", "dataset", value=OUT),
    "an arm that leads out": put("suite", "arms", value=["baseline", OUT]),
    "a method that leads out": put("suite", "methods", value=[OUT]),
    "a huge seed": put("cells", 0, "recipe", "seed", value=10**300),
    "a negative seed": put("cells", 0, "recipe", "seed", value=-1),
    "a truth value for a seed": put("cells", 0, "recipe", "seed", value=True),
    "an infinite number": put("cells", 0, "options", value={"alpha": float("inf")}),
    "a title of control signs": put("arms", "lico", "title", value="\x1b]8;;file:///\x07x"),
    "a title of a megabyte": put("arms", "lico", "title", value="x" * 2**20),
    "a list for a title": put("arms", "lico", "title", value=["x"]),
    "a direction of another kind": put("metrics", "deletion", "higher_is_better", value="yes"),
    "bounds of another kind": put("metrics", "deletion", "bounds", value={"low": 0}),
    "no unit": lambda m: m["metrics"]["deletion"].pop("unit") and None,
    "a text for metrics": put("metrics", value="deletion"),
    "a text for a class": put("datasets", "cub200", "class_names", value="ant"),
    "a source of its own": put("datasets", "cub200", "source", value="dreamt"),
    "counts of another kind": put("datasets", "cub200", "found", value={"test": [1, "2"]}),
    "something very deep": put("versions", value=json.loads('{"a":' * 40 + "1" + "}" * 40)),
    "a list": lambda _m: [1, 2, 3],
    "another format": put("format", value=99),
}


@pytest.mark.parametrize("what", CHANGES)
def test_manifest_that_no_reader_can_use_is_one_sentence(run, what):
    rewrite(run, CHANGES[what])
    with pytest.raises(BrokenFileError, match="manifest") as caught:
        read_run(run.path)
    assert is_single_line(str(caught.value))
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "1" * 10_000, "\xff", '{"format": NaN}'])
def test_manifest_that_is_no_json_is_a_broken_file(run, text):
    run.manifest_path.write_bytes(text.encode("latin1"))
    with pytest.raises(BrokenFileError, match="manifest"):
        read_run(run.path)


COMMANDS = (
    "report",
    "check",
    "compare",
    "explain",
    "verify",
    "verify --repair",
    "score",
    "history",
)


def words_of(command: str, run: RunFolder, whole: RunFolder, folder: Path) -> list[object]:
    paint(folder / "image.png", size=(32, 32))
    (folder / "images").mkdir(exist_ok=True)
    paint(folder / "images" / "a.png", size=(32, 32))
    other = folder / "other.csv"
    if not other.exists():
        other.write_text("dataset\n")
    return {
        "report": ["report", run.path],
        "history": ["report", run.path, whole.path, "--out", folder / "history"],
        "check": ["check", run.path, "--against", other],
        "compare": ["compare", whole.path, run.path],
        "explain": ["explain", folder / "image.png", "--run", run.path,
                    "--out", folder / "explained.png"],
        "verify": ["verify", run.path],
        "verify --repair": ["verify", run.path, "--repair"],
        "score": ["score", "--model", "torch.nn:Identity", "--images", folder / "images",
                  "--out", run.path],
    }[command]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("what", ["a key that leads out", "a title of control signs", "a list"])
def test_command_on_a_hostile_run_says_one_sentence_and_writes_nothing_outside(
    run, whole, tmp_path, canary, monkeypatch, capsys, only_changes, command, what
):
    rewrite(run, CHANGES[what])
    words = words_of(command, run, whole, tmp_path)
    with only_changes(run.path):
        code, message = call(monkeypatch, capsys, *words)
    assert code in (2, 7)
    assert "Traceback" not in message
    assert "\x1b" not in message
    assert code == 2 or command.startswith("verify")


@pytest.mark.parametrize("place", ["cells", "cells/cub200-lico-s0", "cells/cub200-lico-s0/parts"])
def test_cell_that_is_a_link_out_of_the_run_is_refused(run, canary, place):
    link = run.path / place
    shutil.rmtree(link, ignore_errors=True)
    link.symlink_to(canary)
    with pytest.raises(BrokenFileError, match="got a link"):
        run.cell("cub200-lico-s0")
    with pytest.raises(BrokenFileError, match="got a link"):
        run.rows()


@pytest.mark.slow
def test_report_that_is_a_link_is_replaced_and_what_it_leads_to_stays(run, canary):
    for target in (canary, canary / "not there"):
        shutil.rmtree(run.path / "report", ignore_errors=True)
        (run.path / "report").symlink_to(target)
        paths = build_report(run)
        assert paths.html.is_file()
        assert not (run.path / "report").is_symlink()
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]


def test_lock_that_is_a_link_empties_no_file(run, canary):
    (run.path / "lock").unlink(missing_ok=True)
    (run.path / "lock").symlink_to(canary / "precious.txt")
    with pytest.raises(BrokenFileError, match="cannot be opened as the lock"), RunLock(run.path):
        pass


def test_nothing_is_set_aside_through_a_link(run, canary):
    (run.path / "damaged").symlink_to(canary)
    with pytest.raises(BrokenFileError, match="got a link"):
        quarantine(run.path, run.cell("cub200-lico-s0").done)


@pytest.mark.parametrize("name", ["../../../../canary/precious.txt", "..", "/etc/passwd"])
def test_facts_of_a_cell_that_name_files_outside_are_refused(run, canary, name):
    cell = run.cell("cub200-lico-s0")
    fact = {"sha256": "0" * 64, "bytes": 1}
    cell.done.write_text(json.dumps(sealed({"key": "cub200-lico-s0", "files": {name: fact}})))
    with pytest.raises(BrokenFileError, match="expected the name of a file of this folder"):
        cell.record()


def test_run_folder_itself_may_be_a_link(run, tmp_path):
    (tmp_path / "newest").symlink_to(run.path)
    assert not read_run(tmp_path / "newest").rows().empty


def test_weights_of_a_hostile_run_run_nothing(run, tmp_path, monkeypatch, capsys):
    class Executed:
        def __reduce__(self):
            return subprocess.call, (["touch", str(tmp_path / "ran")],)

    for cell in run.path.glob("cells/*"):
        (cell / "model.safetensors").write_bytes(pickle.dumps(Executed()))
        (cell / "checkpoint.pt").write_bytes(pickle.dumps(Executed()))
    for command in ("explain", "verify"):
        code, _ = call(monkeypatch, capsys, *words_of(command, run, run, tmp_path))
        assert code in (2, 7)
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_reports_of_spoilt_manifests_end_in_a_report_or_a_sentence(
    run, tmp_path, canary, only_changes
):
    content = json.loads(run.manifest_path.read_text())
    content.pop("seal", None)
    ended = Counter[str]()
    with only_changes(run.path):
        for number in range(12):
            rng = random.Random(number)
            changed = spoilt_value(content, rng)
            for part in PARTS[:4]:  # keep some manifests valid at the top level
                if rng.random() < 0.7 and isinstance(changed, dict):
                    changed[part] = content[part]
            run.manifest_path.write_text(json.dumps(changed))
            try:
                build_report(run)
                ended["report"] += 1
            except LicoBenchError as error:
                ended["sentence" if is_single_line(str(error)) else "mess"] += 1
    assert set(ended) == {"report", "sentence"}, ended


def test_odd_values_hold_what_the_tests_promise():
    assert {type(value) for value in ODD_VALUES} >= {str, int, float, list, dict, bool, type(None)}
