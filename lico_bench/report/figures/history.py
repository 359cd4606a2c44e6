"""Means over several runs: a sheet per score, a panel per dataset, a line per series."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import BESIDE, SETTING, ReportContent
from lico_bench.report.figures.canvas import (
    LEAST_SPAN,
    Axes,
    Plot,
    drawing,
    legend_of,
    name_panel,
    panel_grid,
    save_plot,
    series_look,
    short_ticks,
    title_of,
    widen,
)
from lico_bench.report.history import History

MOST_SHEETS = 16
COLUMNS = 3


def draw_history(history: History) -> Iterator[Plot]:
    """Scores with a direction that two runs or more share, controls left out."""
    shared = history.shared()
    keys = ["method", "metric", "protocol"]
    scores = [
        (method, metric, protocol)
        for method, metric, protocol in shared[keys].drop_duplicates().itertuples(index=False)
        if _is_drawn(history.runs[-1].content, shared, method, metric)
    ]
    with drawing():
        for number, key in enumerate(scores[:MOST_SHEETS], start=1):
            rows = shared[(shared[keys] == list(key)).all(axis=1)]
            left_out = len(scores) - MOST_SHEETS if number == MOST_SHEETS else 0
            yield _sheet(history, rows, number, left_out)


def _is_drawn(newest: ReportContent, shared: pd.DataFrame, method: str, metric: str) -> bool:
    spec = newest.specs.get(metric)
    has_direction = spec is None or spec.higher_is_better is not None
    return has_direction and metric not in BESIDE and not newest.is_control(method)


def _sheet(history: History, rows: pd.DataFrame, number: int, left_out: int) -> Plot:
    settings = [*rows[list(SETTING)].drop_duplicates().itertuples(index=False, name=None)]
    content, _ = history.newest(settings[-1])
    spec = content.specs[rows["metric"].iloc[0]]
    arms = list(dict.fromkeys(arm for run in history.runs for arm in run.content.arms))
    arms = [arm for arm in arms if arm in set(rows["arm"])]
    runs = [run.name for run in history.runs if run.name in set(rows["run"])]
    figure, grid = panel_grid(
        len(settings), columns=COLUMNS, panel_in=(1.9, 1.4), head_in=0.42, foot_in=0.75,
        labels=list(map(content.arm_title, arms)),
    )  # fmt: skip
    for place, (axes, setting) in enumerate(zip(grid, settings, strict=True)):
        same = rows[(rows[list(SETTING)] == list(setting)).all(axis=1)]
        for arm in arms:
            _line(history, axes, same[same["arm"] == arm], arms.index(arm), spec, runs)
        name_panel(axes, history.newest(setting)[1], with_backbone=True)
        axes.set_xticks(range(len(runs)), [_dated(history, run) for run in runs], rotation=30,
                        ha="right", rotation_mode="anchor")  # fmt: skip
        axes.set_xlim(-0.4, len(runs) - 0.6)
        short_ticks(axes)
        axes.tick_params(axis="x", labelsize=7)
        widen(axes, LEAST_SPAN * (100 if formatting.is_percent(spec) else 1))
        if place % COLUMNS == 0:
            unit = "%" if formatting.is_percent(spec) else spec.unit
            axes.set_ylabel(unit, fontsize=8)
    legend_of(figure, grid)
    method = rows["method"].iloc[0]
    of_method = f"{content.method_title(method)}, " if method else ""
    protocol = rows["protocol"].iloc[0]
    title = f"{of_method}{formatting.title_with_arrow(spec)}: {len(runs)} runs"
    title_of(figure, title)
    return save_plot(
        figure,
        f"history_{number:02d}_{formatting.file_stem(method)}_{formatting.file_stem(spec.name)}",
        kind="history",
        title=title,
        caption=_caption(protocol, left_out),
    )


def _caption(protocol: str, left_out: int) -> str:
    rules = f"Protocol {protocol}. " if protocol else ""
    more = f" {left_out} further scores stand in the tables alone." if left_out else ""
    return (
        f"{rules}Means in the order in which the runs were started, with 95 % intervals. A line "
        "joins numbers of one dataset, arm, method, metric and protocol, and of nothing else."
        f"{more}"
    )


def _line(
    history: History, axes: Axes, rows: pd.DataFrame, number: int, spec: MetricSpec, runs: list[str]
) -> None:
    rows = rows[np.isfinite(rows["mean"])]
    if rows.empty:
        return
    content, _ = history.newest(tuple(rows.iloc[0][list(SETTING)]))
    scale = 100.0 if formatting.is_percent(spec) else 1.0
    colour, style, marker = series_look(number)
    # Beside each other, so that one arm's interval does not hide another's.
    x = rows["run"].map(runs.index).to_numpy() + 0.05 * number
    axes.plot(x, scale * rows["mean"], style, color=colour, lw=1.2, marker=marker, ms=4,
              label=content.arm_title(rows["arm"].iloc[0]))  # fmt: skip
    low, high = (scale * rows[end].clip(*spec.bounds) for end in ("low", "high"))
    axes.vlines(x, low, high, color=colour, lw=1.2)


def _dated(history: History, name: str) -> str:
    """Day and time of a run's start; its name where it has none."""
    started = next(run.started for run in history.runs if run.name == name)
    return started[:16].replace("T", " ") if started else name[:16]
