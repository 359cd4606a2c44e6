"""Plots of the quantities recorded during training, by epoch."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from lico_bench.report.content import Block, ReportContent
from lico_bench.report.figures.canvas import (
    MIN_Y_SPAN,
    Axes,
    Plot,
    add_figure_legend,
    arm_by_cell,
    block_title,
    colour_of,
    ensure_y_span,
    line_style_of,
    panel_grid,
    save_plot,
    set_few_y_ticks,
    set_figure_title,
    set_integer_x_ticks,
    set_log_y_axis,
)

FIRST_QUANTITIES = ("loss", "train_accuracy", "cross_entropy")
GRADIENT_NORM = "_gradient_norm"  # of a weighted loss term; these differ by orders of magnitude
SKIPPED_QUANTITIES = ("elapsed_s", "train_elapsed_s")  # properties of the machine, not of the model
COLUMNS = 3
MAX_QUANTITIES = 18
MAX_QUANTITIES_ONE_EPOCH = 3  # single points are not informative


def draw_training(content: ReportContent, block: Block, history: pd.DataFrame) -> Iterator[Plot]:
    """Draw each recorded quantity over the epochs, one line per model."""
    cells = arm_by_cell(content, block)
    part = history[history["cell"].isin(cells) & ~history["quantity"].isin(SKIPPED_QUANTITIES)]
    recorded = sorted(part["quantity"].unique(), key=_sort_key)
    if not recorded:
        return
    has_curves = part["epoch"].nunique() > 1
    quantities = recorded[: MAX_QUANTITIES if has_curves else MAX_QUANTITIES_ONE_EPOCH]
    arms = [arm for arm in content.arms if arm in set(cells.values())]
    figure, grid = panel_grid(
        len(quantities),
        columns=COLUMNS,
        panel_in=(1.9, 1.15),
        footer_in=0.1,
        labels=list(map(content.arm_title, arms)),
    )
    for axes, quantity in zip(grid, quantities, strict=True):
        _draw_quantity(content, axes, part[part["quantity"] == quantity], cells)
        axes.set_title(quantity.replace("_", " "), fontsize=8.5)
        if quantity.endswith(GRADIENT_NORM):
            set_log_y_axis(axes)
        else:
            set_few_y_ticks(axes)
            low, high = axes.get_ylim()
            ensure_y_span(axes, MIN_Y_SPAN * max(abs(low), abs(high)))
        set_integer_x_ticks(axes)
    for axes in grid[-COLUMNS:]:
        axes.set_xlabel("epoch", fontsize=8, labelpad=1)
    add_figure_legend(figure, grid)
    title = f"{block_title(block)}: training"
    set_figure_title(figure, title)
    yield save_plot(
        figure,
        f"training_{block.key}",
        kind="training",
        title=title,
        caption=_caption(len(quantities), len(recorded)),
    )


def _caption(num_shown: int, num_recorded: int) -> str:
    caption = "Quantities recorded during training, by epoch; one line per model."
    if num_shown == num_recorded:
        return (
            f"{caption} Gradient norms are those of each weighted loss term on the backbone. "
            "Channel cosine and effective rank measure the similarity of an image's channel maps "
            "(both are 1 if all channels are identical)."
        )
    return (
        f"{caption} {num_shown} of {num_recorded} quantities are shown; the others are in the "
        "history.parquet files of the models."
    )


def _sort_key(quantity: str) -> tuple[int, str]:
    """Order losses first, then other quantities, gradient norms and the learning rate."""
    if quantity in FIRST_QUANTITIES:
        return 0, str(FIRST_QUANTITIES.index(quantity))
    if quantity.endswith(GRADIENT_NORM):
        return 2, quantity
    return (3 if quantity == "learning_rate" else 1), quantity


def _draw_quantity(
    content: ReportContent, axes: Axes, part: pd.DataFrame, cells: dict[str, str]
) -> None:
    labelled: set[str] = set()
    for cell, rows in part.groupby("cell", sort=False):
        arm = cells[str(cell)]
        style = line_style_of(content, arm)
        label = None if arm in labelled else content.arm_title(arm)
        marker = "o" if len(rows) == 1 else ""
        axes.plot(rows["epoch"], rows["value"], style, color=colour_of(content, arm), lw=1.3,
                  marker=marker, ms=3, label=label)  # fmt: skip
        labelled.add(arm)
