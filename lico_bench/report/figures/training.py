"""What was recorded while training, by epoch."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from lico_bench.report.content import Block, ReportContent
from lico_bench.report.figures.canvas import (
    LEAST_SPAN,
    Axes,
    Plot,
    cells_of,
    colour_of,
    legend_of,
    log_axis,
    loud_title,
    panel_grid,
    save_plot,
    short_ticks,
    style_of,
    title_of,
    whole_ticks,
    widen,
)

FIRST_QUANTITIES = ("loss", "train_accuracy", "cross_entropy")
GRADIENT_NORM = "_gradient_norm"  # of a weighted term on the backbone; they differ by magnitudes
SKIPPED_QUANTITIES = ("elapsed_s", "train_elapsed_s")  # about the machine, not the model
MOST_QUANTITIES = 18  # on one sheet


def draw_training(content: ReportContent, block: Block, history: pd.DataFrame) -> Iterator[Plot]:
    """Each recorded quantity over the epochs, one line per model."""
    cells = cells_of(content, block)
    part = history[history["cell"].isin(cells) & ~history["quantity"].isin(SKIPPED_QUANTITIES)]
    every = sorted(part["quantity"].unique(), key=_place)
    if not every:
        return
    # One epoch makes points, not curves: the first of them are enough.
    quantities = every[: MOST_QUANTITIES if part["epoch"].nunique() > 1 else 3]
    arms = [arm for arm in content.arms if arm in set(cells.values())]
    figure, grid = panel_grid(
        len(quantities),
        columns=3,
        panel_in=(1.9, 1.15),
        below_in=0.1,
        labels=list(map(content.arm_title, arms)),
    )
    for axes, quantity in zip(grid, quantities, strict=True):
        _quantity(content, axes, part[part["quantity"] == quantity], cells)
        axes.set_title(quantity.replace("_", " "), fontsize=8.5)
        if quantity.endswith(GRADIENT_NORM):
            log_axis(axes)
        else:
            short_ticks(axes)
            low, high = axes.get_ylim()
            widen(axes, LEAST_SPAN * max(abs(low), abs(high)))
        whole_ticks(axes)
    for axes in grid[-3:]:
        axes.set_xlabel("epoch", fontsize=8, labelpad=1)
    legend_of(figure, grid)
    title = f"{loud_title(block)}: training"
    title_of(figure, title)
    yield save_plot(
        figure,
        f"training_{block.key}",
        kind="training",
        title=title,
        caption=_caption(len(quantities), len(every)),
    )


def _caption(num_shown: int, num_recorded: int) -> str:
    caption = (
        "What was recorded while training, by epoch; one line per model. Gradient norms are of "
        "each weighted loss term on the backbone; channel cosine and effective rank say how alike "
        "the channel maps of an image are (1 and 1 where all channels have become one map)."
    )
    if num_shown == num_recorded:
        return caption
    return (
        f"What was recorded while training, by epoch; one line per model. {num_shown} of "
        f"{num_recorded} quantities; the others are in the models' history.parquet."
    )


def _place(quantity: str) -> tuple[int, str]:
    """Losses first, what the optimiser does last."""
    if quantity in FIRST_QUANTITIES:
        return 0, str(FIRST_QUANTITIES.index(quantity))
    if quantity.endswith(GRADIENT_NORM):
        return 2, quantity
    return (3 if quantity == "learning_rate" else 1), quantity


def _quantity(
    content: ReportContent, axes: Axes, part: pd.DataFrame, cells: dict[str, str]
) -> None:
    named: set[str] = set()
    for cell, rows in part.groupby("cell", sort=False):
        arm = cells[str(cell)]
        style = style_of(content, arm)
        label = None if arm in named else content.arm_title(arm)
        marker = "o" if len(rows) == 1 else ""
        axes.plot(rows["epoch"], rows["value"], style, color=colour_of(content, arm), lw=1.3,
                  marker=marker, ms=3, label=label)  # fmt: skip
        named.add(arm)
