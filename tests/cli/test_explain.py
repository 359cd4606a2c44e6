"""`lico-bench explain`: the grid of overlays, from a run or from own models."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lico_bench.bench import ExecutorOptions, Suite, execute, make_plan
from lico_bench.bench.explain_image import ExplainedMap, Explanation, ModelExplanation
from lico_bench.report.figures.maps import draw_overlay
from tests.cli.user_things import write_images, write_network

OWN = ("--model", "net.py:Net", "--weights", "a.safetensors", "--layer", "conv")


class NoOpReporter:
    def __getattr__(self, _name):
        return lambda *_words, **_options: None


@pytest.fixture
def own(tmp_path: Path) -> str:
    write_network(tmp_path)
    write_images(tmp_path / "photos")
    return "photos/red/0.png"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a run of one tiny pair."""
    folder = tmp_path_factory.mktemp("trained")
    changes = {"epochs": 1, "train_limit": 32, "batch_size": 32, "backbone": "wrn_10_1"}
    suite = Suite(
        datasets=("cifar10",), arms=("baseline", "cgc"), seeds=1, profile="smoke",
        methods=("random_map",), metrics=("deletion",), data="standin", limit=1, changes=changes,
    )  # fmt: skip
    out = folder / "results" / "tiny"
    execute(make_plan(suite), out, options=ExecutorOptions(device="cpu"), reporter=NoOpReporter())
    Image.new("RGB", (48, 40), (200, 30, 30)).save(folder / "picture.jpg")
    return folder


def test_a_run_gives_a_row_per_arm_and_the_newest_is_taken(trained, monkeypatch, call_cli):
    monkeypatch.chdir(trained)
    done = call_cli("explain", "picture.jpg", "--methods", "grad_cam,center_map", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    for word in ("results/tiny", "Baseline: predicts", "CGC: predicts", "explain.png"):
        assert word in done.stdout
    with Image.open("explain.png") as image:
        assert image.width > image.height > 300


def test_a_run_of_own_models_is_passed_over(trained, monkeypatch, call_cli):
    monkeypatch.chdir(trained)
    manifest = {"format": 1, "suite": {"kind": "own_models"}, "suite_key": "x", "cells": []}
    later = Path("results/later")
    later.mkdir(parents=True)
    (later / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    try:
        done = call_cli("explain", "picture.jpg", "--methods", "center_map", "--device", "cpu")
        assert "results/tiny" in done.stdout
        done = call_cli("explain", "picture.jpg", "--run", "results/later")
        assert done.returncode == 2
        assert "holds scores of user models" in done.stderr
    finally:
        shutil.rmtree(later)


def test_own_models_are_explained_into_a_pdf_for_the_class_that_was_named(own, call_cli):
    done = call_cli(
        "explain", own, *OWN, "--weights", "b.safetensors", "--class", "2", "--out", "grid.pdf",
        "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "class explained: class 2 (as asked)" in done.stdout
    assert "mine: predicts" in done.stdout
    assert Path("grid.pdf").read_bytes().startswith(b"%PDF")


def explanation(*maps: ExplainedMap) -> Explanation:
    image = np.full((8, 8, 3), 0.5, dtype=np.float32)
    row = ModelExplanation("model", "Model", "cat", 0.9, 0.02, maps)
    return Explanation(image, "dog & <b>$x$</b>", "as asked", (row, row))


def test_a_flat_map_is_named_and_not_drawn():
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    drawn = ExplainedMap("a", "A method", ramp, is_signed=False)
    flat = ExplainedMap("b", "B method", np.zeros((8, 8), dtype=np.float32), is_signed=False)
    assert flat.is_flat
    assert not drawn.is_flat
    plots = [draw_overlay(explanation(one)).png for one in (drawn, flat)]
    colourful = [np.ptp(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")), axis=2).max()
                 for png in plots]  # fmt: skip
    # Over a grey image only a drawn map, or its scale, has a colour.
    assert colourful[0] > 100
    assert colourful[1] == 0


def test_a_signed_map_is_white_at_zero_and_red_and_blue_beside_it():
    from lico_bench.report.figures.maps import map_overlay

    values = np.array([[-2.0, 0.0, 1.0]], dtype=np.float32)
    against, nothing, favour = map_overlay(values, is_signed=True)[0]
    assert against[2] > against[0]
    assert favour[0] > favour[2]
    assert nothing[:3].min() > 0.95
    assert against[3] > favour[3] > nothing[3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gone.png", *OWN), "no such image: gone.png"),
        (("net.py", *OWN), "cannot be decoded"),
        (("photos/red/0.png", *OWN, "--out", "grid.svg"), "ending in .png or .pdf"),
        (("photos/red/0.png", *OWN, "--class", "9"), "from 0 to 2"),
        (("photos/red/0.png", *OWN, "--methods", "gradcam"), "did you mean 'grad_cam'?"),
        (("photos/red/0.png", *OWN, "--run", "results/x"), "--run: expected only without --model"),
        (("photos/red/0.png", "--layer", "conv"), "--layer: expected only with --model"),
        (("photos/red/0.png",), "no run under results/"),
        (("photos/red/0.png", "--run", "photos"), "is not a run folder"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(own, call_cli, words, message: str):
    done = call_cli("explain", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(Path().glob("*.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--dataset", "svhn"), "unknown dataset of"),
        (("--seed", "4"), "no finished model of cifar10 with seed 4"),
    ],
)
def test_a_run_without_what_is_asked_says_what_it_has(
    trained, monkeypatch, call_cli, words, message: str
):
    monkeypatch.chdir(trained)
    done = call_cli("explain", "picture.jpg", *words)
    assert done.returncode == 2
    assert message in done.stderr
