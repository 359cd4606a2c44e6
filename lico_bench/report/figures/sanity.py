"""How maps let go of what the network learned: cascading randomisation, a panel per method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.report.content import Block, ReportContent
from lico_bench.report.figures.canvas import (
    GREY,
    Axes,
    Plot,
    colour_of,
    legend_of,
    loud_title,
    panel_grid,
    save_plot,
    style_of,
    title_of,
)
from lico_bench.stats.sanity import THRESHOLD

COLUMNS = 4
LOW, HIGH = 25, 75  # percentiles of the band
Values = np.ndarray[Any, np.dtype[np.float64]]


def draw_sanity(content: ReportContent, block: Block, cascades: pd.DataFrame) -> Iterator[Plot]:
    """Size of the similarity to the trained network's map, over the stages of randomisation.

    Args:
        cascades: rows of `records.CURVE_COLUMNS` whose curve is `cascade`; nothing is drawn where
            there are none.
    """
    found = set(cascades["method"].unique())
    methods = [name for name in content.methods() if name in found]
    if not methods:
        return
    present = set(cascades["arm"].unique())
    arms = [arm for arm in content.arms if arm in present]
    figure, grid = panel_grid(
        len(methods), columns=COLUMNS, panel_in=(1.7, 1.4), left_in=0.42, foot_in=0.45,
        below_in=0.15, labels=list(map(content.arm_title, arms)),
    )  # fmt: skip
    columns = min(COLUMNS, len(methods))
    for place, (axes, method) in enumerate(zip(grid, methods, strict=True)):
        part = cascades[cascades["method"] == method]
        axes.axhline(THRESHOLD, color=GREY, lw=0.8, ls=":")
        for arm in arms:
            _line(content, axes, part[part["arm"] == arm], arm)
        control = " (control)" if content.is_control(method) else ""
        axes.set_title(f"{content.method_title(method)}{control}", fontsize=8.5)
        axes.set_ylim(-0.03, 1.05)
        if place % columns == 0:
            axes.set_ylabel("size of the rank\ncorrelation", fontsize=8)
        else:
            axes.tick_params(labelleft=False)
    _label_stages(grid, columns, len(cascades["fractions"].iloc[0]) - 1)
    legend_of(figure, grid)
    title = f"{loud_title(block)}: sanity check"
    title_of(figure, title)
    caption = (
        "Size of the rank correlation between the map of the network as trained and the map after "
        "its layers were drawn anew, stage by stage from the output back. Line: mean over "
        "images and seeds; band: the middle half of them. Dotted: above it, a method does not "
        "need what the network learned. A control stays at 1."
    )
    yield save_plot(figure, f"sanity_{block.key}", kind="sanity", title=title, caption=caption)


def _line(content: ReportContent, axes: Axes, part: pd.DataFrame, arm: str) -> None:
    if part.empty:
        return
    values = np.abs(_stacked(part))
    fractions = np.asarray(part["fractions"].iloc[0], dtype=float)
    colour = colour_of(content, arm)
    low, high = np.percentile(values, (LOW, HIGH), axis=0)
    axes.fill_between(fractions, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(fractions, values.mean(0), style_of(content, arm), color=colour, lw=1.6, marker="o",
              ms=3, label=content.arm_title(arm))  # fmt: skip


def _stacked(part: pd.DataFrame) -> Values:
    return np.stack([np.asarray(one, dtype=np.float64) for one in part["values"]])


def _label_stages(grid: Any, columns: int, count: int) -> None:
    """A tick at each stage; the first is the output layer, the last leaves nothing trained."""
    names = ["none", "head", *(str(number) for number in range(2, count)), "all"]
    names = names if count > 1 else ["none", "all"]
    for axes in grid:
        axes.set_xticks(
            np.linspace(0, 1, count + 1), names, fontsize=7, rotation=40, ha="right",
            rotation_mode="anchor",
        )  # fmt: skip
        axes.tick_params(axis="y", labelsize=8)
    for axes in grid[-columns:]:  # the lowest panel of each column
        axes.set_xlabel("randomised, output first", fontsize=8, labelpad=1)
