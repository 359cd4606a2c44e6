from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save

from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS
from lico_bench.store import RunFolder, RunLock, seal_cell, write_json, write_parquet
from lico_bench.store.run_records import CellRecord
from tests.manifests import manifest_from

KEY = "cifar10-wrn_10_1-lico-s0-0123abcd"


@pytest.fixture
def run(tmp_path) -> RunFolder:
    """A run of one finished cell."""
    run = RunFolder(tmp_path / "run")
    entry = {"key": KEY, "pair": "p", "recipe": {"dataset": "cifar10", "arm": "lico", "seed": 0}}
    run.open_for(manifest_from({"suite": {"kind": "own_models"}, "cells": [entry]}))
    cell = run.cell(KEY)
    write_json(cell.recipe, entry)
    history = {"cell": [KEY], "epoch": [1], "quantity": ["loss"], "value": [0.5]}
    write_parquet(cell.table("history"), pd.DataFrame(history))
    cell.write_weights(save({"weight": np.zeros(3, np.float32)}))
    keys = {"cell": KEY, "pair": "p"}
    rows = dict.fromkeys(ROW_COLUMNS, "x") | keys | {"value": 0.5}
    write_parquet(cell.table("rows"), pd.DataFrame([rows]))
    curves = dict.fromkeys(CURVE_COLUMNS, "x") | keys | {"fractions": [0.0], "values": [0.0]}
    write_parquet(cell.table("curves"), pd.DataFrame([curves]))
    gallery = {"cell": KEY, "image_id": "i", "method": "m"}
    write_parquet(cell.table("gallery"), pd.DataFrame([gallery]))
    seal_cell(run, KEY, CellRecord(rows=1))
    return run


def damage(run: RunFolder) -> Path:
    path = run.cell(KEY).model
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    return path


def test_whole_run_exits_0_and_says_what_was_checked(call_cli, run):
    done = call_cli("verify", str(run.path))
    assert done.returncode == 0, done.stderr
    assert "1 finished cells, 7 files" in done.stdout
    assert "0 damaged" in done.stdout


def test_damaged_run_exits_7_names_the_file_and_changes_nothing(call_cli, run):
    path = damage(run)
    done = call_cli("verify", str(run.path))
    assert done.returncode == 7
    assert "model.safetensors" in done.stdout.replace("\n", "").replace("│", "").replace(" ", "")
    assert "Repeat the command that made this run" in done.stdout
    assert path.exists()
    assert not run.damaged.exists()


def test_repair_sets_the_damaged_file_aside(call_cli, run):
    path = damage(run)
    done = call_cli("verify", str(run.path), "--repair")
    assert done.returncode == 7
    assert not path.exists()
    assert (run.damaged / KEY / path.name).is_file()
    assert call_cli("verify", str(run.path)).returncode == 0


def test_repair_of_a_run_at_work_is_refused_in_one_sentence(call_cli, run):
    path = damage(run)
    with RunLock(run.path):
        done = call_cli("verify", str(run.path), "--repair")
    assert done.returncode == 2
    assert "is using" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.exists()


def test_sample_of_own_models_is_refused_in_one_sentence(call_cli, run):
    done = call_cli("verify", str(run.path), "--sample", "3")
    assert done.returncode == 2
    assert "holds scores of user models" in done.stderr


def test_folder_that_is_no_run_is_refused(call_cli, tmp_path):
    done = call_cli("verify", str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert "is not a run folder" in done.stderr


def test_lost_manifest_is_a_damage_where_there_are_cells(call_cli, run):
    run.manifest_path.unlink()
    done = call_cli("verify", str(run.path))
    assert done.returncode == 7
    assert "manifest.json" in done.stdout
    shutil.rmtree(run.path / "cells")
    assert call_cli("verify", str(run.path)).returncode == 2
