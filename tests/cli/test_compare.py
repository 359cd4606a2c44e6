"""`lico-bench compare`: run folders and arms as a person names them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lico_bench.records import ROW_COLUMNS
from lico_bench.store import RunFolder, write_json, write_parquet
from tests.manifests import manifest_from

EASE = np.random.default_rng(0).beta(4, 2, 40)
FACTS = {
    "name": "insertion", "title": "Insertion", "source": "Petsiuk et al., 2018",
    "unit": "probability", "higher_is_better": True, "bounds": [0, 1],
}  # fmt: skip


def write_run(path: str, **shifts: float) -> None:
    """A finished run with an arm per keyword, whose insertion is shifted by the value."""
    run = RunFolder(Path(path))
    cells = [
        {"key": arm, "recipe": {"dataset": "cifar10", "arm": arm, "seed": 0}} for arm in shifts
    ]
    run.open_for(
        manifest_from(
            {
                "suite_key": Path(path).name,
                "suite": {"name": Path(path).name},
                "datasets": {"cifar10": {"fingerprint": "0123456789ab"}},
                "metrics": {"insertion": FACTS},
                "methods": {"grad_cam": {"is_control": False}},
                "cells": cells,
            }
        )
    )
    for arm, shift in shifts.items():
        frame = pd.DataFrame(
            {
                "pair": "p", "cell": arm, "dataset": "cifar10", "source": "standin",
                "backbone": "wrn_10_2", "arm": arm, "seed": 0, "labels": "full",
                "image_id": [f"i{k}" for k in range(len(EASE))], "target": 0, "correct": True,
                "method": "grad_cam", "metric": "insertion", "protocol": "p@1",
                "value": EASE + shift, "flag": "",
            }
        )  # fmt: skip
        write_parquet(run.cell(arm).table("rows"), frame[list(ROW_COLUMNS)])
        write_json(run.cell(arm).path / "done.json", {})


@pytest.fixture
def compare(call_cli, monkeypatch):
    """The command in a folder with two runs."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    write_run("results/before", baseline=0.0, lico=0.1)
    write_run("results/now", baseline=0.0, lico=-0.1)
    for name, when in (("before", 1), ("now", 2)):
        for path in Path("results", name).rglob("*"):
            os.utime(path, (when, when))
    return lambda *words: call_cli("compare", *words)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("results/before", "results/now"), 1, "1 regression, 1 pass of 2 scores"),
        (("results/before:baseline", "results/before:lico"), 0, "better: 1 better of 1 scores"),
        (("results/before:baseline", "results/now:baseline"), 0, "pass: 1 pass of 1 scores"),
        (("results/before",), 1, "1 regression, 1 pass of 2 scores"),  # with the newest other run
        (("results/before", "results/now", "--margin", "0.5"), 0, "2 pass of 2 scores"),
        (("results/before", "results/now", "--methods", "rise"), 2, ""),
        (("results/before:lica", "results/now"), 2, ""),
        (("results/before",) * 2, 0, "2 pass of 2 scores"),
        (("nowhere", "results/now"), 2, ""),
    ],
)
def test_exit_code_and_sentence(compare, words, code, message):
    done = compare(*words)
    assert done.returncode == code, done.stdout + done.stderr
    assert message in " ".join(done.stdout.split())
    assert len(done.stderr.strip().splitlines()) == (1 if code == 2 else 0)


def test_files_are_written_and_standins_marked(compare):
    done = compare("results/before", "results/now", "--junit", "j.xml", "--markdown", "c.md")
    assert "STAND-IN" in done.stdout
    assert "STAND-IN" in Path("c.md").read_text()
    assert 'failures="1"' in Path("j.xml").read_text()


def test_other_images_are_not_comparable_unless_shared(compare):
    rows = RunFolder(Path("results/now")).cell("lico").table("rows")
    write_parquet(rows, pd.read_parquet(rows).iloc[:30])
    done = compare("results/before:lico", "results/now:lico", "--markdown", "c.md")
    assert done.returncode == 4
    assert "30 images in both" in Path("c.md").read_text()
    words = ("results/before:lico", "results/now:lico", "--shared", "--markdown", "c.md")
    assert compare(*words).returncode == 1
    assert "30 images" in Path("c.md").read_text()


def test_damaged_record_of_a_cell_is_refused(compare, call_cli):
    RunFolder(Path("results/now")).cell("lico").done.write_text('{"seconds": 1')
    done = compare("results/before", "results/now")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    assert "done.json" in done.stderr
    assert call_cli("check", "results/now", "--update", "--against", "new.csv").returncode == 2
    assert not Path("new.csv").exists()
