"""Plots of the cascading randomisation test, one panel per method."""

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
    add_figure_legend,
    block_title,
    colour_of,
    line_style_of,
    panel_grid,
    save_plot,
    set_figure_title,
)
from lico_bench.stats.sanity import THRESHOLD

COLUMNS = 4
LOW, HIGH = 25, 75  # percentiles of the band


def draw_sanity(content: ReportContent, block: Block, cascades: pd.DataFrame) -> Iterator[Plot]:
    """Draw the absolute similarity to the trained network's map over the stages of randomisation.

    Args:
        cascades: rows of `records.CURVE_COLUMNS` whose curve is `cascade`; if empty, nothing is
            drawn.
    """
    drawn_methods = set(cascades["method"].unique())
    methods = [name for name in content.methods() if name in drawn_methods]
    if not methods:
        return
    drawn_arms = set(cascades["arm"].unique())
    arms = [arm for arm in content.arms if arm in drawn_arms]
    figure, grid = panel_grid(
        len(methods), columns=COLUMNS, panel_in=(1.7, 1.4), left_in=0.42, bottom_in=0.45,
        footer_in=0.15, labels=list(map(content.arm_title, arms)),
    )  # fmt: skip
    columns = min(COLUMNS, len(methods))
    for index, (axes, method) in enumerate(zip(grid, methods, strict=True)):
        part = cascades[cascades["method"] == method]
        axes.axhline(THRESHOLD, color=GREY, lw=0.8, ls=":")
        for arm in arms:
            _draw_arm(content, axes, part[part["arm"] == arm], arm)
        control = " (control)" if content.is_control(method) else ""
        axes.set_title(f"{content.method_title(method)}{control}", fontsize=8.5)
        axes.set_ylim(-0.03, 1.05)
        if index % columns == 0:
            axes.set_ylabel("size of the rank\ncorrelation", fontsize=8)
        else:
            axes.tick_params(labelleft=False)
    _label_stages(grid, columns, len(cascades["fractions"].iloc[0]) - 1)
    add_figure_legend(figure, grid)
    title = f"{block_title(block)}: sanity check"
    set_figure_title(figure, title)
    caption = (
        "Absolute rank correlation between the map of the trained network and the map after its "
        "layers are re-initialised, stage by stage from the output to the input. Line: mean over "
        "images and seeds; band: interquartile range. Above the dotted line, a method does not "
        "depend on the trained weights. A control stays at 1."
    )
    yield save_plot(figure, f"sanity_{block.key}", kind="sanity", title=title, caption=caption)


def _draw_arm(content: ReportContent, axes: Axes, part: pd.DataFrame, arm: str) -> None:
    if part.empty:
        return
    values = np.abs(np.stack([np.asarray(each, dtype=np.float64) for each in part["values"]]))
    fractions = np.asarray(part["fractions"].iloc[0], dtype=float)
    colour = colour_of(content, arm)
    low, high = np.percentile(values, (LOW, HIGH), axis=0)
    axes.fill_between(fractions, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(fractions, values.mean(0), line_style_of(content, arm), color=colour, lw=1.6,
              marker="o", ms=3, label=content.arm_title(arm))  # fmt: skip


def _label_stages(grid: Any, columns: int, num_stages: int) -> None:
    """Label each stage; stage 1 randomises the output layer, the last one the whole network."""
    names = ["none", "head", *(str(number) for number in range(2, num_stages)), "all"]
    names = names if num_stages > 1 else ["none", "all"]
    for axes in grid:
        axes.set_xticks(
            np.linspace(0, 1, num_stages + 1), names, fontsize=7, rotation=40, ha="right",
            rotation_mode="anchor",
        )  # fmt: skip
        axes.tick_params(axis="y", labelsize=8)
    for axes in grid[-columns:]:  # the lowest panel of each column
        axes.set_xlabel("randomised, output first", fontsize=8, labelpad=1)
