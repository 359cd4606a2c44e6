"""Plots of means over several runs: one sheet per score, one panel per dataset."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import AUXILIARY_METRICS, SETTING, ReportContent
from lico_bench.report.figures.canvas import (
    MIN_Y_SPAN,
    Axes,
    Plot,
    add_figure_legend,
    ensure_y_span,
    panel_grid,
    plot_style,
    save_plot,
    series_style,
    set_few_y_ticks,
    set_figure_title,
    set_panel_title,
)
from lico_bench.report.history import History

MAX_SHEETS = 16
COLUMNS = 3


def draw_history(history: History) -> Iterator[Plot]:
    """Draw the scores with a direction that at least two runs share, without controls."""
    shared = history.shared()
    keys = ["method", "metric", "protocol"]
    scores = [
        (method, metric, protocol)
        for method, metric, protocol in shared[keys].drop_duplicates().itertuples(index=False)
        if _is_drawn(history.runs[-1].content, shared, method, metric)
    ]
    with plot_style():
        for number, key in enumerate(scores[:MAX_SHEETS], start=1):
            rows = shared[(shared[keys] == list(key)).all(axis=1)]
            num_omitted = len(scores) - MAX_SHEETS if number == MAX_SHEETS else 0
            yield _draw_sheet(history, rows, number, num_omitted)


def _is_drawn(newest: ReportContent, shared: pd.DataFrame, method: str, metric: str) -> bool:
    spec = newest.specs.get(metric)
    has_direction = spec is None or spec.higher_is_better is not None
    return has_direction and metric not in AUXILIARY_METRICS and not newest.is_control(method)


def _draw_sheet(history: History, rows: pd.DataFrame, number: int, num_omitted: int) -> Plot:
    settings = [*rows[list(SETTING)].drop_duplicates().itertuples(index=False, name=None)]
    content, _ = history.newest(settings[-1])
    spec = content.specs[rows["metric"].iloc[0]]
    arms = list(dict.fromkeys(arm for run in history.runs for arm in run.content.arms))
    arms = [arm for arm in arms if arm in set(rows["arm"])]
    runs = [run.name for run in history.runs if run.name in set(rows["run"])]
    figure, grid = panel_grid(
        len(settings), columns=COLUMNS, panel_in=(1.9, 1.4), top_in=0.42, bottom_in=0.75,
        labels=list(map(content.arm_title, arms)),
    )  # fmt: skip
    for index, (axes, setting) in enumerate(zip(grid, settings, strict=True)):
        panel_rows = rows[(rows[list(SETTING)] == list(setting)).all(axis=1)]
        for arm_index, arm in enumerate(arms):
            arm_rows = panel_rows[panel_rows["arm"] == arm]
            _draw_arm(history, axes, arm_rows, arm_index, spec, runs)
        set_panel_title(axes, history.newest(setting)[1], with_backbone=True)
        axes.set_xticks(range(len(runs)), [_run_label(history, run) for run in runs], rotation=30,
                        ha="right", rotation_mode="anchor")  # fmt: skip
        axes.set_xlim(-0.4, len(runs) - 0.6)
        set_few_y_ticks(axes)
        axes.tick_params(axis="x", labelsize=7)
        ensure_y_span(axes, MIN_Y_SPAN * (100 if formatting.is_percent(spec) else 1))
        if index % COLUMNS == 0:
            unit = "%" if formatting.is_percent(spec) else spec.unit
            axes.set_ylabel(unit, fontsize=8)
    add_figure_legend(figure, grid)
    method = rows["method"].iloc[0]
    prefix = f"{content.method_title(method)}, " if method else ""
    title = f"{prefix}{formatting.title_with_arrow(spec)}: {len(runs)} runs"
    set_figure_title(figure, title)
    return save_plot(
        figure,
        f"history_{number:02d}_{formatting.file_stem(method)}_{formatting.file_stem(spec.name)}",
        kind="history",
        title=title,
        caption=_caption(rows["protocol"].iloc[0], num_omitted),
    )


def _caption(protocol: str, num_omitted: int) -> str:
    rules = f"Protocol {protocol}. " if protocol else ""
    omitted = f" {num_omitted} further scores are in the tables only." if num_omitted else ""
    return (
        f"{rules}Means with 95 % intervals, ordered by the start of the runs. Each line joins "
        f"values of one dataset, arm, method, metric and protocol.{omitted}"
    )


def _draw_arm(
    history: History, axes: Axes, rows: pd.DataFrame, number: int, spec: MetricSpec, runs: list[str]
) -> None:
    rows = rows[np.isfinite(rows["mean"])]
    if rows.empty:
        return
    content, _ = history.newest(tuple(rows.iloc[0][list(SETTING)]))
    scale = 100.0 if formatting.is_percent(spec) else 1.0
    colour, style, marker = series_style(number)
    # Shift the arms, so that their intervals do not overlap.
    x = rows["run"].map(runs.index).to_numpy() + 0.05 * number
    axes.plot(x, scale * rows["mean"], style, color=colour, lw=1.2, marker=marker, ms=4,
              label=content.arm_title(rows["arm"].iloc[0]))  # fmt: skip
    low, high = (scale * rows[end].clip(*spec.bounds) for end in ("low", "high"))
    axes.vlines(x, low, high, color=colour, lw=1.2)


def _run_label(history: History, name: str) -> str:
    """Date and time at which a run started, or its name if unknown."""
    started = next(run.started for run in history.runs if run.name == name)
    return started[:16].replace("T", " ") if started else name[:16]
