"""`lico-bench self-check` as the author of a metric or method meets it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from lico_bench.metrics import METRICS
from lico_bench.saliency import SALIENCY

METRIC = """
from lico_bench.metrics import METRICS, Metric
from lico_bench.records import MetricSpec

def mass_{side}(inputs):
    mass = inputs.maps.clamp_min(0) + 1e-9
    return (mass * {on}inputs.regions).sum((1, 2)) / mass.sum((1, 2))

METRICS.add("mass_{side}", Metric(MetricSpec(
    name="mass_{side}", title="Mass", higher_is_better=True, bounds=(0.0, 1.0), unit="share",
    source="a test", needs=("maps", "regions")), mass_{side}))
"""
METHOD = """
from lico_bench.saliency import SALIENCY, SaliencyMethod

SALIENCY.add("brightness", SaliencyMethod(
    title="Brightness", source="a test", family="gradient",
    compute=lambda model, images, targets: images.mean(1)))
"""


@pytest.fixture
def self_check(call_cli, monkeypatch):
    """Call the command with words; what it registers is forgotten after the test."""
    for registry in (METRICS, SALIENCY):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.setenv("COLUMNS", "160")
    return partial(call_cli, "self-check")


@pytest.mark.slow
def test_a_sound_metric_passes_with_a_table(self_check):
    done = self_check("localisation_auc", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("check", "expected", "measured", "margin", "verdict", "oracle beats", "pass"):
        assert word in done.stdout
    assert "FAIL" not in done.stdout
    assert "accuracy on new scenes" in done.stdout
    assert "\x1b[" not in done.stdout


@pytest.mark.slow
def test_a_sound_metric_of_ones_own_passes(self_check):
    Path("mine.py").write_text(METRIC.format(side="inside", on=""))
    done = self_check("--load", "mine.py", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mass_inside" in done.stdout


@pytest.mark.slow
def test_a_metric_that_points_the_wrong_way_fails(self_check):
    Path("mine.py").write_text(METRIC.format(side="outside", on="~"))
    done = self_check("--load", "mine.py", "--quick")
    assert done.returncode == 6
    assert "FAIL" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_method_that_draws_the_image_fails(self_check):
    Path("mine.py").write_text(METHOD)
    done = self_check("brightness", "--load", "mine.py", "--quick")
    assert done.returncode == 6
    assert "correlation with the maps of an untrained network" in done.stdout


def test_an_unknown_name_is_answered_with_the_nearest(self_check):
    done = self_check("localisation_acu")
    assert done.returncode == 2
    assert "did you mean 'localisation_auc'" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file"),
        ("raise OSError('no disk')", "OSError: no disk"),
        ("x = 1", "expected a file that registers a metric or method"),
        ("import lico_bench.nowhere", "ModuleNotFoundError"),
    ],
)
def test_a_file_that_adds_nothing_is_refused(self_check, text: str | None, words: str):
    if text is not None:
        Path("mine.py").write_text(text)
    done = self_check("--load", "mine.py")
    assert done.returncode == 2
    assert words in done.stderr
    assert "mine.py" in done.stderr


def test_unknown_scenes_are_refused(self_check):
    done = self_check("pointing_game", "--scenes", "planted")
    assert done.returncode == 2
    assert "planted_cue" in done.stderr
