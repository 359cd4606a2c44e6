"""Whatever shape one's own models and images have: scored, reported, and gated to the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.user_things import write_images, write_network

ODD = """
import torch
from torch import nn

class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 3)
        for weights in self.parameters():
            nn.init.zeros_(weights)

    def forward(self, images):
        return self.head(self.conv(images).relu().mean((2, 3)))

class Sigmoid(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 1)

    def forward(self, images):
        x = self.head(self.conv(images).relu().mean((2, 3)))
        return torch.cat([0 * x, x], 1)  # as the sentence about one logit says

class Perfect(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.conv.weight.copy_(900 * torch.eye(3).flip(0)[:, :, None, None])
            self.conv.bias.zero_()

    def forward(self, images):
        return self.conv(images).mean((2, 3))
"""
NET = ("--model", "net.py:Net", "--weights", "a.safetensors")
SECOND = ("--weights", "b.safetensors")


@pytest.fixture(autouse=True)
def own() -> None:
    """Networks, weights and images in the current folder."""
    here = Path()
    write_network(here)
    Path("odd.py").write_text(ODD, encoding="utf-8")
    write_images(Path("photos"), each=3, side=32)
    write_images(Path("flat"), classed=False, side=32)


@pytest.fixture
def through(call_cli) -> Callable[..., str]:
    """Score, report, freeze a reference and check against it; the run folder."""

    def call(*words: str) -> str:
        run = "results/own"
        common = ("--layer", "conv", "--device", "cpu", "--out", run)
        for step in (
            ("score", *words, *common),
            ("report", run),
            ("check", run, "--against", "ref.csv", "--update"),
            ("check", run, "--against", "ref.csv"),
        ):
            done = call_cli(*step)
            assert done.returncode == 0, (step, done.stdout[-2000:], done.stderr)
            assert not done.stderr, step
        return run

    return call


@pytest.mark.slow
def test_one_model_on_labelled_images(through, call_cli):
    run = through(*NET, "--images", "photos")
    assert call_cli("compare", f"{run}:model", f"{run}:model", "--margin", "9").returncode == 0


@pytest.mark.slow
def test_one_model_on_images_without_labels(through):
    through(*NET, "--images", "flat")


@pytest.mark.slow
def test_a_pair_is_compared_with_itself_and_as_a_run(through, call_cli):
    run = through(*NET, *SECOND, "--images", "photos")
    for sides in ((f"{run}:baseline", f"{run}:mine"), (f"{run}:mine", f"{run}:baseline")):
        assert call_cli("compare", *sides).returncode in (0, 1, 3)
    shutil.copytree(run, "results/again")
    for margin, code in (("9", 0), ("0.000001", 3)):
        done = call_cli("compare", run, "results/again", "--margin", margin)
        assert done.returncode == code, done.stdout
    done = call_cli("compare", run, "results/again", "--methods", "random_map")
    assert done.returncode == 2, "nothing was compared"
    assert "expected a score with a direction" in done.stderr


def test_three_models_are_no_pair(call_cli):
    done = call_cli("score", *NET, *SECOND, *SECOND, "--images", "photos")
    assert done.returncode == 2
    assert "expected one or two files, got 3" in done.stderr


@pytest.mark.slow
def test_a_single_image_is_scored_and_no_reference(call_cli):
    words = ("score", *NET, "--images", "photos", "--layer", "conv", "--limit", "1")
    methods = ("--methods", "grad_cam", "--metrics", "insertion")
    assert call_cli(*words, *methods, "--out", "one").returncode == 0
    shutil.copytree("photos/red", "few/red")
    for path in sorted(Path("few/red").iterdir())[1:]:
        path.unlink()
    Path("names.txt").write_text("blue\ngreen\nred\n", encoding="utf-8")
    words = ("score", *NET, "--images", "few", "--classes", "names.txt", "--layer", "conv")
    assert call_cli(*words, "--out", "lone").returncode == 0
    done = call_cli("check", "lone", "--against", "ref.csv", "--update")
    assert done.returncode == 2
    assert "score more images" in done.stderr
    assert not Path("ref.csv").exists()
    done = call_cli("check", "lone", "--against", "ref.csv")
    assert done.returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        (*NET, "--images", "photos", "--methods", "random_map"),
        (*NET, *SECOND, "--images", "photos", "--methods", "random_map,center_map,edge_map"),
        (*NET, *SECOND, "--images", "photos", "--metrics", "complexity"),
        (*NET, "--images", "photos", "--metrics", "sanity_check"),
        (*NET, *SECOND, "--images", "photos", "--limit", "1"),
        (*NET, *SECOND, "--images", "photos", "--arms", "lico,lico_mm"),
        (*NET, *SECOND, "--images", "grey"),
        ("--model", "odd.py:Constant", "--images", "photos"),
        ("--model", "odd.py:Perfect", "--images", "photos"),
        ("--model", "odd.py:Sigmoid", "--images", "flat"),
    ],
    ids=" ".join,
)
def test_odd_shapes_go_through_to_the_end(through, words):
    for name in ("blue", "green", "red"):
        for number in range(3):
            path = Path("grey") / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (90, 90, 90)).save(path)
    through(*words)
