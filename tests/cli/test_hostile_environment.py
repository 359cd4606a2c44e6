"""Every command in a real process, where nothing around it is as it should be.

Two surroundings hold all of it: one of old encodings, plot settings and a home that is not there,
and one whose reader leaves after the first line.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.user_things import write_images, write_network

RC = """
backend: TkAgg
text.usetex: True
font.family: nonexistent
savefig.dpi: 5
figure.dpi: 7
svg.fonttype: none
axes.unicode_minus: False
figure.autolayout: True
savefig.bbox: tight
nonsense: \xff
"""
TINY = (
    "run", "--datasets", "cifar10", "--profile", "smoke", "--data", "standin", "--limit", "2",
    "--methods", "grad_cam", "--metrics", "insertion", "--out", "run", "--device", "cpu",
    "--set", "recipe.train_limit=32", "--set", "recipe.epochs=1",
    "--set", "recipe.backbone=wrn_10_1",
)  # fmt: skip
OWN = ("--model", "net.py:Net", "--weights", "a.safetensors", "--layer", "conv", "--device", "cpu")
SCORE = ("score", *OWN, "--images", "photos", "--metrics", "deletion", "--out", "own")
# In this order: later ones read what earlier ones made.
COMMANDS = {
    TINY: 0,
    (*TINY, "--plan"): 0,
    ("report", "run", "--out", "report"): 0,
    SCORE: 0,
    ("explain", "photos/red/0.png", *OWN, "--out", "map.pdf"): 0,
    ("check", "own", "--against", "ref.csv", "--update"): 0,
    ("check", "own", "--against", "ref.csv", "--junit", "junit.xml", "--annotations"): 0,
    ("check", "own", "--against", "nowhere.csv"): 2,
    ("compare", "run:baseline", "run:lico", "--margin", "0.00001"): 3,  # too small to tell
    ("publish", "run", "copy"): 0,
    ("verify", "run"): 0,
    ("self-check", "localisation_auc", "--quick"): 0,
    ("doctor",): 0,
    ("data", "where", "cifar10"): 0,
    ("data", "verify", "cifar10"): 2,
    ("--help",): 0,
    ("ls", "datasets"): 0,
    ("ls", "metrics"): 0,
}  # fmt: skip


def surroundings(folder: Path, *, is_piped: bool) -> dict[str, str]:
    """Environment variables that few have tried together."""
    (folder / "settings").mkdir(exist_ok=True)
    (folder / "settings" / "matplotlibrc").write_bytes(RC.encode("latin-1"))
    (folder / "matplotlibrc").write_bytes(RC.encode("latin-1"))
    (folder / "cache").write_bytes(b"")
    hostile = {"PYTHONIOENCODING": "cp1252"}
    if not is_piped:
        hostile = {
            "PYTHONIOENCODING": "ascii",
            "LC_ALL": "C",
            "MATPLOTLIBRC": str(folder / "settings" / "matplotlibrc"),
            "MPLBACKEND": "nonsense",
            "COLUMNS": "20",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "HOME": "/nonexistent",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_CONFIG_HOME": str(folder / "cache"),
        }
    return {**os.environ, **hostile}


def end_of(words: tuple[str, ...], folder: Path, *, is_piped: bool) -> tuple[int, str]:
    """Exit code and standard error of a command; of a pipe the first line is read."""
    with subprocess.Popen(
        [sys.executable, "-m", "lico_bench", *words],
        cwd=folder,
        env=surroundings(folder, is_piped=is_piped),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        if is_piped:
            process.stdout.readline()
            process.stdout.close()
            errors = process.stderr.read()
            process.wait()
        else:
            errors = process.communicate()[1]
    return process.returncode, errors.decode("latin-1")


def check_end(words: tuple[str, ...], folder: Path, *, is_piped: bool) -> None:
    code, errors = end_of(words, folder, is_piped=is_piped)
    assert code == COMMANDS[words], errors
    assert "Traceback" not in errors
    assert not re.search(r"\w(Error|Exception|Warning)\b|Exception ignored", errors), errors


@pytest.fixture(scope="module", params=[False, True], ids=["hostile", "closed pipe"])
def place(request, tmp_path_factory) -> tuple[Path, bool]:
    folder = tmp_path_factory.mktemp("place")
    write_network(folder)
    write_images(folder / "photos", each=3, side=32)
    return folder, request.param


@pytest.mark.parametrize("words", [("ls", "metrics"), ("check", "own", "--against", "nowhere.csv")])
@pytest.mark.slow
def test_a_command_ends_as_it_should_wherever_it_runs(place, words):
    folder, is_piped = place
    check_end(words, folder, is_piped=is_piped)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_ends_as_it_should_wherever_it_runs(place):
    folder, is_piped = place
    for words in COMMANDS:
        check_end(words, folder, is_piped=is_piped)


@pytest.mark.slow
def test_closed_output_is_no_reason_to_stop(tmp_path):
    """Both streams closed before the start; the first file must not get their numbers."""
    command = f'exec "{sys.executable}" -m lico_bench ls arms >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 0


def test_plot_settings_of_the_working_folder_are_not_read(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(RC.encode("latin-1"))
    script = (
        "from lico_bench.cli.console import loading\n"
        "from lico_bench.cli.console import ignore_plot_settings\n"
        "ignore_plot_settings()\n"
        "with loading('report', 'matplotlib'):\n"
        "    import matplotlib, pathlib\n"
        "assert not matplotlib.rcParams['text.usetex']\n"
        "print(pathlib.Path.cwd())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "lico-bench report: loading matplotlib\n")
    assert Path(done.stdout.strip()) == tmp_path
