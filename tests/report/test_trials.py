"""Plot and table of the trials of a tuning."""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest

from lico_bench.report import trials
from lico_bench.report.trials import draw_trials, picks_table, settings_text

RATE, SCHEDULE, SHARED = OPTIONS = ("recipe.rate", "recipe.schedule", "objective.is_shared")
DIVERGED = -math.inf


@pytest.fixture
def tried() -> pd.DataFrame:
    """Three trials of two arms: the first arm lacks an option and diverged once."""
    return pd.DataFrame(
        {
            "dataset": "cifar10",
            "arm": ["baseline"] * 3 + ["lico"] * 3,
            "trial": [0, 1, 2] * 2,
            "accuracy": [0.5, 0.6, DIVERGED, 0.55, 0.7, 0.65],
            RATE: [0.3, 0.1, 0.2, 0.3, 0.1, 0.2],
            SCHEDULE: ["cosine", "step", "step", "cosine", "cosine", "step"],
            SHARED: [None, None, None, True, False, True],
        }
    )


@pytest.fixture
def picked(tried) -> pd.DataFrame:
    return tried.iloc[[1, 4]]


@pytest.fixture
def axes(tried, picked, monkeypatch):
    """The panels by option, as they are handed over to be saved."""
    seen = []
    monkeypatch.setattr(trials, "save_plot", lambda figure, name, **_: seen.append((figure, name)))
    draw_trials(
        tried, picked, OPTIONS, log_options=[RATE], score="accuracy", score_title="Accuracy"
    )
    ((figure, name),) = seen
    assert name == "trials_cifar10_accuracy"
    figure.draw_without_rendering()  # categories get their places here
    return dict(zip(OPTIONS, figure.axes, strict=True))


def points(axes, *, is_ring: bool) -> list[set[tuple[object, float]]]:
    """The points or the rings of each arm, with the values of the option."""
    lines = [line for line in axes.lines if (line.get_markerfacecolor() == "none") == is_ring]
    return [set(zip(*map(list, line.get_data(orig=True)), strict=True)) for line in lines]


def test_numbers_are_drawn_on_their_scale_without_diverged_trials(axes):
    assert points(axes[RATE], is_ring=False) == [
        {(0.3, 0.5), (0.1, 0.6)}, {(0.3, 0.55), (0.1, 0.7), (0.2, 0.65)},
    ]  # fmt: skip
    assert points(axes[RATE], is_ring=True) == [{(0.1, 0.6)}, {(0.1, 0.7)}]
    assert axes[RATE].get_xscale() == "log"


def test_texts_are_categories(axes):
    assert points(axes[SCHEDULE], is_ring=False) == [
        {("cosine", 0.5), ("step", 0.6)}, {("cosine", 0.55), ("cosine", 0.7), ("step", 0.65)},
    ]  # fmt: skip
    assert points(axes[SCHEDULE], is_ring=True) == [{("step", 0.6)}, {("cosine", 0.7)}]


def test_flags_are_categories_and_an_arm_without_the_option_has_no_point(axes):
    assert points(axes[SHARED], is_ring=False) == [
        set(), {("true", 0.55), ("false", 0.7), ("true", 0.65)},
    ]  # fmt: skip
    assert points(axes[SHARED], is_ring=True) == [set(), {("false", 0.7)}]


def test_an_option_that_may_be_zero_has_no_logarithmic_axis(tried, monkeypatch):
    seen = []
    monkeypatch.setattr(trials, "save_plot", lambda figure, *_, **__: seen.append(figure))
    tried[RATE] = [0.0, 0.1, 0.2] * 2
    draw_trials(
        tried, tried[:0], [RATE], log_options=[RATE], score="accuracy", score_title="Accuracy"
    )
    assert seen[0].axes[0].get_xscale() == "linear"


def test_settings_leave_out_what_the_arm_lacks():
    row = {RATE: 0.1, SCHEDULE: "step", SHARED: True}
    assert settings_text(row, OPTIONS) == "rate 0.1, schedule step, is_shared true"
    for absent in (None, math.nan):
        assert settings_text(row | {SHARED: absent}, OPTIONS) == "rate 0.1, schedule step"


def test_the_table_has_a_row_per_criterion_and_arm(tried, picked):
    formulas = {"accuracy": picked, "accuracy + 2 overall": tried.iloc[[0, 3]]}
    text = picks_table(formulas, OPTIONS, num_trials=3, run_name="run").text
    for markup, sign in ((r"\_", "_"), (r"\allowbreak{}", ""), (r"\raggedright ", "")):
        text = text.replace(markup, sign)
    assert all(f"{formula} & baseline & " in text for formula in formulas)
    rows = re.findall(r"(\w+) & (\d) & (.*) & ([\d.]+) \\tabularnewline", text)
    assert rows == [
        ("baseline", "1", "rate 0.1, schedule step", "60.0"),
        ("lico", "1", "rate 0.1, schedule cosine, is_shared false", "70.0"),
        ("baseline", "0", "rate 0.3, schedule cosine", "50.0"),
        ("lico", "0", "rate 0.3, schedule cosine, is_shared true", "55.0"),
    ]
