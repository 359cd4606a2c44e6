"""`lico-bench score`: own models on own images, as a person meets it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from lico_bench.cli import main
from lico_bench.store import read_run
from tests.cli.user_things import write_images, write_network

PAIR = (
    "score", "--model", "net.py:Net", "--weights", "a.safetensors", "--weights", "b.safetensors",
    "--layer", "conv", "--images", "photos", "--device", "cpu",
)  # fmt: skip
FLAT = (
    "score", "--model", "net.py:Net", "--weights", "a.safetensors", "--images", "flat",
    "--methods", "grad_cam(layer=conv)", "--metrics", "deletion", "--device", "cpu",
)  # fmt: skip


@pytest.fixture
def own(tmp_path: Path) -> None:
    """A network, two weights and images in the current folder."""
    write_network(tmp_path)
    write_images(tmp_path / "photos")
    write_images(tmp_path / "flat", classed=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A pair with labels and a single model without, scored by the command itself."""
    folder = tmp_path_factory.mktemp("own")
    write_network(folder)
    write_images(folder / "photos")
    write_images(folder / "flat", classed=False)
    output = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in (("pair", PAIR), ("single", FLAT)):
            if name == "single":  # one page is enough; drawing it takes seconds
                page = SimpleNamespace(html="page")
                patch.setattr("lico_bench.report.build_report", lambda *_words, page=page: page)
            patch.setattr(sys, "argv", ["lico-bench", *words, "--out", f"results/{name}"])
            with (
                contextlib.redirect_stdout(io.StringIO()) as stdout,
                contextlib.suppress(SystemExit),
            ):
                main()
            output[name] = stdout.getvalue()
    return SimpleNamespace(folder=folder, **output)


def test_a_pair_prints_differences_and_what_was_scored(finished):
    for word in ("Accuracy", "baseline", "mine", "Diff.", "95 % interval", "labels from the"):
        assert word in finished.pair
    assert "layer conv, normalised: none" in finished.pair
    assert "results/pair/report/report.html" in finished.pair
    assert (finished.folder / "results/pair/report/report.html").stat().st_size > 10_000


def test_the_rows_are_those_of_a_run_and_name_model_and_images(finished):
    run = read_run(finished.folder / "results/pair")
    rows = run.rows()
    assert set(rows["arm"]) == {"baseline", "mine"}
    assert rows["pair"].nunique() == 1
    assert set(rows["backbone"]) == {"net_Net"}
    assert set(rows.loc[rows.method == "grad_cam", "image_id"]) == {
        f"{name}/{number}.png" for name in ("blue", "green", "red") for number in (0, 1)
    }
    recipes = {cell.recipe.arm: cell.recipe.other for cell in run.manifest().cells}
    assert len({recipe["weights_sha256"] for recipe in recipes.values()}) == 2
    assert recipes["mine"]["weights"] == "b.safetensors"


def test_accuracy_is_that_of_the_network_by_hand(finished):
    from lico_bench.data.folder import load_folder
    from lico_bench.models.user_model import load_user_model

    rows = read_run(finished.folder / "results/pair").rows()
    accuracy = rows[(rows.metric == "accuracy") & (rows.arm == "mine")].set_index("image_id")[
        "value"
    ]
    network = load_user_model(
        f"{finished.folder / 'net.py'}:Net", weights=finished.folder / "b.safetensors"
    ).network
    data = load_folder(finished.folder / "photos").dataset
    right = network(data.images).argmax(1) == data.labels
    assert accuracy.loc[list(data.image_ids)].tolist() == right.float().tolist()


def test_images_without_labels_have_no_accuracy_and_say_so(finished):
    assert "no labels" in finished.single
    assert "accuracy is not known" in finished.single
    rows = read_run(finished.folder / "results/single").rows()
    assert not set(rows["metric"]) & {"accuracy", "brier"}
    assert "deletion" in set(rows["metric"])
    assert set(rows["arm"]) == {"model"}
    assert "Accuracy" not in finished.single


def test_a_second_call_finds_everything_done(finished, monkeypatch, call_cli):
    monkeypatch.chdir(finished.folder)
    done = call_cli(*PAIR, "--out", "results/pair")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("already done") == 2


def test_the_gate_takes_the_run(finished, monkeypatch, call_cli):
    monkeypatch.chdir(finished.folder)
    assert call_cli("check", "results/pair", "--against", "ref.csv", "--update").returncode == 0
    assert "net_Net" in Path("ref.csv").read_text()
    assert call_cli("check", "results/pair", "--against", "ref.csv").returncode in (0, 3)


def test_weights_that_changed_are_another_run(finished, monkeypatch, call_cli):
    monkeypatch.chdir(finished.folder)
    words = list(PAIR)
    words[words.index("b.safetensors")] = "a.safetensors"
    done = call_cli(*words, "--out", "results/pair")
    assert done.returncode == 2
    assert "holds another suite" in done.stderr


def test_two_equal_models_differ_in_nothing(finished, monkeypatch):
    """A property of the whole path: the same weights twice give the same rows."""
    from lico_bench.bench import execute
    from lico_bench.bench.user_plan import load_models, plan_user_models
    from lico_bench.data.folder import load_folder
    from lico_bench.evaluation import EvalConfig

    class NoOpReporter:
        def __getattr__(self, _name):
            return lambda *_words, **_options: None

    monkeypatch.chdir(finished.folder)
    models = load_models("net.py:Net", [Path("a.safetensors")] * 2, layer="conv")
    eval_config = EvalConfig.of(("grad_cam",), ("insertion",), "lico_bench_1", 3)
    plan = plan_user_models(models, load_folder(Path("photos")), eval_config)
    rows = execute(plan, Path("results/twins"), reporter=NoOpReporter()).rows()
    arms = [rows[rows.arm == arm].drop(columns=["arm", "cell"]) for arm in ("baseline", "mine")]
    pd.testing.assert_frame_equal(*(arm.reset_index(drop=True) for arm in arms))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "net.py", "--images", "photos"), "expected package.module:name"),
        (("--model", "nett.py:Net", "--images", "photos"), "no such file: nett.py"),
        (("--model", "net.py:Nett", "--images", "photos"), "did you mean 'Net'?"),
        (("--model", "net.py:Two", "--images", "photos"), "got tuple; name a module"),
        (("--model", "net.py:Net", "--images", "photos"), "such as --layer conv"),
        (("--model", "net.py:Net", "--images", "gone"), "no such folder: gone"),
        (("--model", "net.py:Net", "--images", "few", "--methods", "random_map"),
         "--classes FILE"),
        (("--model", "net.py:Net", "--images", "empty"), "no images"),
        (("--model", "net.py:Broken", "--layer", "conv", "--images", "photos"), "NaN or infinity"),
        (("--model", "net.py:Net", "--layer", "con", "--images", "photos"), "near: conv"),
        (("--model", "net.py:Net", "--layer", "head", "--images", "photos"),
         "name a convolutional layer"),
        (("--model", "net.py:Net", "--images", "photos", "--weights", "c.pt"),
         "no such weights file"),
        (("--model", "net.py:Net", "--images", "photos", "--weights", "other.pt"),
         "not the weights of this model"),
        (("--model", "net.py:Net", "--images", "photos", *("--weights", "a.safetensors") * 3),
         "expected one or two files, got 3"),
        (("--model", "net.py:Net", "--images", "photos", "--arms", "a,b"), "expected 1 names"),
        ((*PAIR[1:], "--arms", "mine,baseline"), "pass its name and its weights first"),
        (("--model", "net.py:Net", "--images", "photos", "--methods", "gradcam"),
         "did you mean 'grad_cam'?"),
        ((*PAIR[1:], "--metrics", "pointing_game"), "request other metrics"),
        ((*PAIR[1:], "--normalise", "mnist"), "--normalise 'mnist'"),
        ((*PAIR[1:], "--classes", "names.txt"), "--classes: expected 3 names"),
        ((*PAIR[1:3], "--images", "broken"), "broken.png: cannot be decoded"),
        ((*PAIR[1:3], "--images", "flat", "--image-size", "0"), "--image-size"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_code_2(own, call_cli, words, message: str):
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/broken.png").write_bytes(b"no image")
    shutil.copytree("photos/red", "few/red")
    Path("names.txt").write_text("blue\ngreen\nred\ngrey\n", encoding="utf-8")
    torch.save({"other": torch.zeros(1)}, "other.pt")
    done = call_cli("score", *words)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not Path("results").exists()


def test_own_things_are_json(finished):
    manifest = json.loads((finished.folder / "results/single/manifest.json").read_text())
    assert manifest["suite"]["kind"] == "own_models"
    assert manifest["datasets"]["flat"]["class_names"] == ["class 0", "class 1", "class 2"]


@pytest.mark.slow
def test_what_is_called_like_an_image_and_is_none_is_left_alone(own, call_cli):
    """A folder failed the cell, and opening a named pipe waited for ever."""
    Path("photos/red/folder.png").mkdir()
    os.mkfifo("photos/red/pipe.png")
    for name in (".DS_Store", "notes.txt", ".hidden.png"):
        Path("photos/red", name).write_bytes(b"x")
    Path("photos/red/lost.png").symlink_to("nowhere.png")
    words = ("--methods", "grad_cam", "--metrics", "deletion", "--out", "run", "--skip-broken")
    done = call_cli(*PAIR, *words)
    assert done.returncode == 0, done.stderr
    assert "6 images" in done.stdout
