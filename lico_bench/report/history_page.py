"""Write the history of several runs: a page, a CSV table, and figures of one sheet per score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.build import check_outside
from lico_bench.report.content import AUXILIARY_METRICS, SETTING, ReportContent
from lico_bench.report.figures.canvas import (
    Axes,
    Plot,
    axis_scale,
    ensure_y_span,
    panel_grid,
    plot_style,
    present,
    save_panels,
    series_style,
    set_few_y_ticks,
    set_panel_title,
)
from lico_bench.report.history import RUN_SERIES, History, PastRun, gather_history
from lico_bench.report.page import fill_template
from lico_bench.store import RunFolder, write_bytes

MODEL_SCORES_TITLE = "Model scores"  # scores without a protocol
MAX_SHEETS = 16
PANEL_COLUMNS = 3


@dataclass(frozen=True)
class HistoryPaths:
    """Paths of the parts of a history."""

    folder: Path
    html: Path
    table: Path
    figures: tuple[Path, ...]


def build_history(runs: Sequence[RunFolder], out: Path) -> HistoryPaths:
    """Write `history.html`, `history.csv` and figures into the folder `out`; replace older ones.

    Raises:
        InvalidInputError: if a run is given twice or `out` lies inside a run.
        NotComparableError: if no two runs have a series in common.
        MissingDataError: if a folder holds no run or a run has no finished cell.
        BrokenFileError: if a file is unreadable; existing output is then unchanged.
    """
    check_outside(out)
    history = gather_history(runs)
    plots = list(draw_history(history))
    page = render_history(history, plots)
    # Everything is rendered before any file is replaced.
    figures = out / "figures"
    for plot in plots:
        write_bytes(figures / f"{plot.name}.png", plot.png)
        write_bytes(figures / f"{plot.name}.pdf", plot.pdf)
    written = {figures / f"{plot.name}.{kind}" for plot in plots for kind in ("png", "pdf")}
    for old in set(figures.glob("history_*.p[nd][gf]")) - written:
        old.unlink()
    table = history.means.assign(run=history.means["run"].map(formatting.escape_csv_cell)).to_csv(
        index=False, float_format="%.6f"
    )
    write_bytes(out / "history.csv", table.encode())
    write_bytes(out / "history.html", page.encode())
    return HistoryPaths(out, out / "history.html", out / "history.csv", tuple(sorted(written)))


def render_history(history: History, plots: Sequence[Plot]) -> str:
    """Return the page as HTML with embedded figures."""
    return fill_template(
        "history.html.j2",
        history=history,
        runs=[_run(run) for run in history.runs],
        tables=[
            _table(history, protocol) for protocol in sorted(history.means["protocol"].unique())
        ],
        plots=plots,
        standin=formatting.STANDIN,
        bar_width=0,  # used by a shared macro; this page draws no bars
    )


def _run(run: PastRun) -> dict[str, Any]:
    suite = run.content.manifest.suite
    return {
        "name": run.name,
        "path": str(run.content.run.path),
        "started": run.started or "unknown",
        "version": run.content.manifest.versions.get("lico-bench", "unknown"),
        "profile": suite.profile,
        "arms": [run.content.arm_title(arm) for arm in run.content.arms],
        "datasets": [
            {"title": block.title, "data": block.data, "is_standin": block.is_standin}
            for block in run.content.blocks
        ],
        "seeds": formatting.plural(max(block.num_seeds for block in run.content.blocks), "seed"),
    }


def _table(history: History, protocol: str) -> dict[str, Any]:
    """Return one protocol's table: a row per series, a column per run with scores under it."""
    means = history.means[history.means["protocol"] == protocol]
    names = set(means["run"])
    runs = [run for run in history.runs if run.name in names]
    rules = (run.content.manifest.protocols.get(protocol) for run in reversed(runs))
    facts = next(filter(None, rules), None)
    return {
        "title": protocol or MODEL_SCORES_TITLE,
        "rules": formatting.protocol_sentence(protocol, facts) if protocol else "",
        "runs": [{"name": run.name, "started": run.started[:10]} for run in runs],
        "rows": list(_rows(history, means, runs)),
    }


def _rows(history: History, means: pd.DataFrame, runs: list[PastRun]) -> Iterator[dict[str, Any]]:
    """Yield one row per series; titles come from the newest run of its setting."""
    for key, part in means.groupby(list(RUN_SERIES), sort=False):
        series = dict(zip(RUN_SERIES, map(str, key), strict=True))
        content, block = history.newest(tuple(series[name] for name in SETTING))
        spec = next(
            run.content.specs[series["metric"]]
            for run in reversed(runs)
            if series["metric"] in run.content.specs
        )
        by_run = {row["run"]: row for _, row in part.iterrows()}
        yield {
            "dataset": f"{block.title}{block.budget}",
            "backbone": block.backbone,
            "is_standin": block.is_standin,
            "method": content.method_title(series["method"]),
            "is_control": content.is_control(series["method"]),
            "score": formatting.title_with_arrow(spec),
            "unit": spec.unit,
            "arm": content.arm_title(series["arm"]),
            "cells": [_cell(by_run.get(run.name), spec) for run in runs],
        }


def _cell(row: pd.Series[Any] | None, spec: MetricSpec) -> dict[str, str] | None:
    """Return mean, interval and counts as text; None if the run has no such score."""
    if row is None:
        return None
    interval = formatting.mean_interval(row["low"], row["high"], spec)
    images = formatting.plural(int(row["num_images"]), "image")
    return {
        "mean": formatting.value(row["mean"], spec),
        "interval": "no interval" if interval == formatting.NO_VALUE else interval,
        "counts": f"{images}, {formatting.plural(int(row['num_seeds']), 'seed')}",
        "note": row["note"],
    }


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
    scale, unit = axis_scale(spec)
    all_arms = dict.fromkeys(arm for run in history.runs for arm in run.content.arms)
    arms = present(list(all_arms), rows["arm"])
    runs = present([run.name for run in history.runs], rows["run"])
    figure, grid = panel_grid(
        len(settings), columns=PANEL_COLUMNS, panel_in=(1.9, 1.4), top_in=0.42, bottom_in=0.75,
        labels=list(map(content.arm_title, arms)),
    )  # fmt: skip
    for axes, setting in zip(grid, settings, strict=True):
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
        ensure_y_span(axes, scale)
    for axes in grid[::PANEL_COLUMNS]:
        axes.set_ylabel(unit, fontsize=8)
    method = rows["method"].iloc[0]
    prefix = f"{content.method_title(method)}, " if method else ""
    return save_panels(
        figure,
        grid,
        f"history_{number:02d}_{formatting.file_stem(method)}_{formatting.file_stem(spec.name)}",
        kind="history",
        title=f"{prefix}{formatting.title_with_arrow(spec)}: {len(runs)} runs",
        caption=_figure_caption(rows["protocol"].iloc[0], num_omitted),
    )


def _figure_caption(protocol: str, num_omitted: int) -> str:
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
    scale, _ = axis_scale(spec)
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
