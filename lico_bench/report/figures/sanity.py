"""How maps let go of what the network learned: cascading randomisation, a panel per method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.report.content import Block, Content
from lico_bench.report.figures.canvas import (
    Axes,
    Figure,
    Plot,
    colour_of,
    loud_title,
    save_plot,
    style_of,
)
from lico_bench.stats.sanity import THRESHOLD

GREY = "#6b6b6b"
COLUMNS = 4
LOW, HIGH = 25, 75  # percentiles of the band
Values = np.ndarray[Any, np.dtype[np.float64]]


def draw_sanity(content: Content, block: Block, cascades: pd.DataFrame) -> Iterator[Plot]:
    """Size of the similarity to the trained network's map, over the stages of randomisation.

    Args:
        cascades: rows of `records.CURVE_COLUMNS` whose curve is `cascade`; nothing is drawn where
            there are none.
    """
    methods = [name for name in content.methods() if name in set(cascades["method"])]
    if not methods:
        return
    columns = min(COLUMNS, len(methods))
    lines = -(-len(methods) // columns)
    figure = Figure(figsize=(max(2.1 * columns, 4.2), 0.9 + 2.1 * lines))
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes in grid[len(methods) :]:
        axes.set_axis_off()
    for axes, method in zip(grid, methods, strict=False):
        part = cascades[cascades["method"] == method]
        axes.axhline(THRESHOLD, color=GREY, lw=0.8, ls=":")
        for arm in content.arms:
            _line(content, axes, part[part["arm"] == arm], arm)
        control = " (control)" if content.is_control(method) else ""
        axes.set_title(f"{content.method_title(method)}{control}", fontsize=9)
        axes.set_ylim(-0.03, 1.05)
    _label_stages(grid[: len(methods)], columns, len(cascades["fractions"].iloc[0]) - 1)
    handles, labels = _legend(grid)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    figure.supylabel("size of the rank correlation", fontsize=9)
    title = f"{loud_title(block)}: sanity check"
    figure.suptitle(title, fontsize=10)
    caption = (
        "Size of the rank correlation between the map of the network as trained and the map after "
        "its layers were drawn anew, stage by stage from the output back. Line: mean over "
        "pictures and seeds; band: the middle half of them. Dotted: above it, a method does not "
        "need what the network learned. A control stays at 1."
    )
    yield save_plot(figure, f"sanity_{block.key}", kind="sanity", title=title, caption=caption)


def _line(content: Content, axes: Axes, part: pd.DataFrame, arm: str) -> None:
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
    for axes in grid[-columns:]:  # the lowest panel of each column
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("randomised, output first", fontsize=8)


def _legend(grid: Any) -> tuple[list[Any], list[str]]:
    """Handles and labels of the arms, each once, whichever panel has them."""
    found: dict[str, Any] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)
