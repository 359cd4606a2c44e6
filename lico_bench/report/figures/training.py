"""What was recorded while training, by epoch."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from lico_bench.report.content import Block, Content
from lico_bench.report.figures.canvas import (
    Axes,
    Figure,
    Plot,
    cells_of,
    colour_of,
    loud_title,
    save_plot,
    style_of,
    whole_ticks,
)

FIRST_QUANTITIES = ("loss", "train_accuracy", "cross_entropy")
GRADIENT_NORM = "_gradient_norm"  # of a weighted term on the backbone; they differ by magnitudes
SKIPPED_QUANTITIES = ("elapsed_s", "train_elapsed_s")  # about the machine, not the model


def draw_training(content: Content, block: Block, history: pd.DataFrame) -> Iterator[Plot]:
    """Each recorded quantity over the epochs, one line per model."""
    cells = cells_of(content, block)
    part = history[history["cell"].isin(cells) & ~history["quantity"].isin(SKIPPED_QUANTITIES)]
    quantities = sorted(part["quantity"].unique(), key=_place)
    if not quantities:
        return
    columns = min(3, len(quantities))
    lines = -(-len(quantities) // columns)
    figure = Figure(figsize=(2.6 * columns, 0.5 + 1.7 * lines))
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in grid[len(quantities) :]:
        axes.set_axis_off()
    for axes, quantity in zip(grid, quantities, strict=False):
        _quantity(content, axes, part[part["quantity"] == quantity], cells)
        whole_ticks(axes)
        axes.set_title(quantity.replace("_", " "), fontsize=9)
        if quantity.endswith(GRADIENT_NORM):
            axes.set_yscale("log")
    title = f"{loud_title(block)}: training"
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    figure.suptitle(title, fontsize=10)
    caption = (
        "What was recorded while training, by epoch; one line per model. Gradient norms are of "
        "each weighted loss term on the backbone; channel cosine and effective rank say how alike "
        "the channel maps of an image are (1 and 1 where all channels have become one map)."
    )
    yield save_plot(figure, f"training_{block.key}", kind="training", title=title, caption=caption)


def _place(quantity: str) -> tuple[int, str]:
    """Losses first, what the optimiser does last."""
    if quantity in FIRST_QUANTITIES:
        return 0, str(FIRST_QUANTITIES.index(quantity))
    if quantity.endswith(GRADIENT_NORM):
        return 2, quantity
    return (3 if quantity == "learning_rate" else 1), quantity


def _quantity(content: Content, axes: Axes, part: pd.DataFrame, cells: dict[str, str]) -> None:
    named: set[str] = set()
    for cell, rows in part.groupby("cell", sort=False):
        arm = cells[str(cell)]
        style = style_of(content, arm)
        label = None if arm in named else content.arm_title(arm)
        marker = "o" if len(rows) == 1 else ""
        axes.plot(rows["epoch"], rows["value"], style, color=colour_of(content, arm), lw=1.3,
                  marker=marker, ms=3, label=label)  # fmt: skip
        named.add(arm)
