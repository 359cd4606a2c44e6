"""On real models `check` passes another seed and no spoilt one; `compare` takes runs and arms."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from lico_bench.bench import execute
from lico_bench.bench.user_plan import load_models, plan_user_models
from lico_bench.data.folder import load_folder
from lico_bench.evaluation import EvalConfig
from lico_bench.records import ROW_COLUMNS
from lico_bench.store import RunFolder, write_json, write_parquet
from tests.cli.user_things import Net, write_images, write_network
from tests.manifests import manifest_from

NUM_TRAININGS = 4  # three for the reference, one that is checked
NOISE = 3.0  # in mean sizes of a weight; the accuracy falls to one in three
EASE = np.random.default_rng(0).beta(4, 2, 40)
FACTS = {
    "name": "insertion", "title": "Insertion", "source": "Petsiuk et al., 2018",
    "unit": "probability", "higher_is_better": True, "bounds": [0, 1],
}  # fmt: skip


class NoOpReporter:
    def __getattr__(self, _name):
        return lambda *_words, **_options: None


def trained(images, seed: int) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Net()
    network.train()
    optimiser = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(60):
        features = network.conv(images.images).relu().mean((2, 3))
        optimiser.zero_grad()
        F.cross_entropy(network.head(features), images.labels).backward()
        optimiser.step()
    return network


def spoilt(network: Net) -> Net:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in network.parameters():
            noise = torch.randn(weights.shape, generator=generator)
            weights += NOISE * weights.abs().mean() * noise
    return network


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run folders of trainings that differ in the seed alone, and of one with noise in it."""
    folder = tmp_path_factory.mktemp("gated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_network(folder)
        photos = load_folder(write_images(folder / "photos", each=8))

        def score(network: Net, name: str) -> str:
            save_file(network.state_dict(), f"{name}.safetensors")
            models = load_models("net.py:Net", [Path(f"{name}.safetensors")], layer="conv")
            eval_config = EvalConfig.of(
                ("grad_cam", "random_map"), ("insertion", "deletion"), "lico_bench_1", None
            )
            execute(
                plan_user_models(models, photos, eval_config), Path(name), reporter=NoOpReporter()
            )
            return name

        names = [score(trained(photos.dataset, seed), f"m{seed}") for seed in range(NUM_TRAININGS)]
        last = trained(photos.dataset, NUM_TRAININGS - 1)
        return SimpleNamespace(
            folder=folder, reference=names[:-1], other=names[-1], worse=score(spoilt(last), "worse")
        )


@pytest.fixture
def gated(runs, monkeypatch, call_cli, tmp_path):
    """The command line in the folder of the runs, with a reference of three trainings."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(runs.folder)
    reference = tmp_path / "ref.csv"
    done = call_cli("check", *runs.reference, "--against", str(reference), "--update")
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(call=call_cli, against=("--against", str(reference)), path=reference)


@pytest.mark.slow
def test_another_seed_of_the_same_model_passes(runs, gated):
    done = gated.call("check", runs.other, *gated.against)
    assert done.returncode == 0, done.stdout
    assert "pass: 4 pass of 4 scores" in done.stdout
    assert "not covered" not in done.stdout


def test_a_spoilt_model_is_a_regression(runs, gated):
    done = gated.call("check", runs.worse, *gated.against)
    assert done.returncode == 1, done.stdout
    assert "regression" in done.stdout


def test_a_spoilt_model_loses_the_comparison_too(runs, gated):
    done = gated.call("compare", runs.other, runs.worse, "--margin", "0.05")
    assert done.returncode == 1, done.stdout


def test_a_reference_of_one_training_says_what_it_does_not_cover(runs, gated):
    one = ("--against", str(gated.path.with_name("one.csv")))
    gated.call("check", runs.reference[0], *one, "--update")
    done = gated.call("check", runs.other, *one)
    assert done.returncode in (0, 3)
    assert "the variation between trainings is not covered" in " ".join(done.stdout.split())
    assert gated.call("check", runs.worse, *one).returncode == 1


def test_files_for_a_build_server_and_a_pull_request(runs, gated, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    junit, comment = tmp_path / "out/junit.xml", tmp_path / "out/comment.md"
    done = gated.call(
        "check", runs.worse, *gated.against, "--junit", str(junit), "--markdown", str(comment)
    )
    assert done.returncode == 1
    suite = ElementTree.parse(junit).getroot()[0]
    assert suite.get("tests") == "4"
    assert int(suite.get("failures", "0")) > 0
    assert "### ❌ lico-bench check: regression" in comment.read_text()
    assert summary.read_text() == "before\n" + comment.read_text()
    assert re.search(r"^::error title=regression%3A photos%2C", done.stdout, re.MULTILINE)
    quiet = gated.call("check", runs.worse, *gated.against, "--no-annotations")
    assert "::error" not in quiet.stdout


def test_update_shows_what_moved(runs, gated):
    done = gated.call("check", runs.worse, *gated.against, "--update")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    assert "4 changed, 0 added, 0 removed, 0 unchanged of 4 scores" in text
    assert "worse" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--metrics", "road"), "unknown metric in the reference 'road'"),
        (("--margin", "0"), "margin: expected a number above 0"),
        (("--junit", "net.py/junit.xml"), "--junit: net.py/junit.xml cannot be written"),
        (("--markdown", "photos"), "--markdown: photos cannot be written"),
        (("m0",), "got one twice"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(runs, gated, words, message):
    done = gated.call("check", "m0", *words, *gated.against)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


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


def test_check_passes_against_its_own_reference(finished, monkeypatch, lico_bench):
    monkeypatch.chdir(finished)
    assert lico_bench("check", "run", "--against", "ref.csv", "--update").returncode == 0
    assert lico_bench("check", "run", "--against", "ref.csv").returncode in (0, 3)


def test_check_without_a_reference_is_bad_input(finished, monkeypatch, lico_bench):
    monkeypatch.chdir(finished)
    done = lico_bench("check", "run", "--against", "nowhere.csv")
    assert done.returncode == 2
    assert done.stderr.startswith("lico-bench: ")
