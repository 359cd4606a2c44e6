"""Write the history of several runs: a page, a CSV table and figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.report import formatting
from lico_bench.report.build import check_outside
from lico_bench.report.content import SETTING
from lico_bench.report.figures import Plot, draw_history
from lico_bench.report.history import RUN_SERIES, History, PastRun, gather_history
from lico_bench.report.templating import data_uri, fill_template
from lico_bench.store import RunFolder, write_bytes

TEMPLATE = "history.html.j2"
MODEL_SCORES_TITLE = "Model scores"  # scores without a protocol


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
        TEMPLATE,
        history=history,
        runs=[_run(run) for run in history.runs],
        tables=[_table(history, protocol) for protocol in history.protocols],
        plots=[(plot, data_uri(plot.png)) for plot in plots],
        standin=formatting.STANDIN,
        bar_width=0,  # used by a shared macro; this page draws no bars
    )


def _run(run: PastRun) -> dict[str, Any]:
    suite = run.content.manifest.suite
    return {
        "name": run.name,
        "path": str(run.content.run.path),
        "started": run.started or "unknown",
        "version": run.version,
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
    runs = history.under(protocol)
    rules = (run.content.manifest.protocols.get(protocol) for run in reversed(runs))
    facts = next(filter(None, rules), None)
    means = history.means[history.means["protocol"] == protocol]
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
        budget = "" if block.labels == "full" else f", {block.labels} labels"
        yield {
            "dataset": f"{block.title}{budget}",
            "backbone": block.backbone,
            "is_standin": block.is_standin,
            "method": content.method_title(series["method"]),
            "is_control": content.is_control(series["method"]),
            "score": formatting.title_with_arrow(spec),
            "unit": spec.unit,
            "arm": content.arm_title(series["arm"]),
            "cells": [_cell(by_run.get(run.name), spec) for run in runs],
        }


def _cell(row: pd.Series[Any] | None, spec: Any) -> dict[str, str] | None:
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
