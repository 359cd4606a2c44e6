"""One image overlaid with the maps of several models (rows) and methods (columns)."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lico_bench.report.figures.canvas import (
    Figure,
    Plot,
    add_colour_bar,
    heat_colours,
    plot_style,
    save_plot,
    signed_colours,
)
from lico_bench.report.figures.gallery import MAX_OPACITY, MIN_OPACITY

if TYPE_CHECKING:
    from lico_bench.bench.explain_image import ExplainedMap, Explanation, ModelExplanation

CELL_IN = 2.0  # side of an image on paper
TOP_IN, LABEL_IN = 0.7, 0.3  # for the title and the colour bar; for the text above a row
TITLE_CHARS = 24  # that fit above a cell
FLAT_LABEL = "flat map"
MIN_SHOWN = 0.001


def draw_overlay(explanation: Explanation) -> Plot:
    """Draw the labelled grid of overlays.

    Each map is scaled from its lowest to its highest value. A signed map is scaled by its largest
    absolute value, so that white is zero. A constant map is labelled instead of drawn.
    """
    num_rows, num_maps = len(explanation.rows), len(explanation.rows[0].maps)
    with plot_style():
        figure = Figure(
            figsize=(CELL_IN * (1 + num_maps), TOP_IN + (CELL_IN + LABEL_IN) * num_rows),
            layout="constrained",
        )
        grid = figure.subplots(num_rows, 1 + num_maps, squeeze=False)
        for axes_row, row in zip(grid, explanation.rows, strict=True):
            _draw_row(axes_row, row, explanation, is_first=row is explanation.rows[0])
        _draw_colour_bars(figure, grid, [each for row in explanation.rows for each in row.maps])
        title = f"class explained: {explanation.target} ({explanation.chosen_by})"
        figure.suptitle("\n".join(textwrap.wrap(title, 26 * (1 + num_maps))), fontsize=10)
        caption = "Each map is scaled from its lowest to its highest value."
        return save_plot(figure, "overlay", kind="overlay", title=title, caption=caption)


def _draw_row(
    axes_row: Any, row: ModelExplanation, explanation: Explanation, *, is_first: bool
) -> None:
    for axes in axes_row:
        axes.imshow(explanation.image)
        axes.set_axis_off()
    axes_row[0].set_title(_row_title(row, explanation), fontsize=8, loc="left", parse_math=False)
    for axes, explained in zip(axes_row[1:], row.maps, strict=True):
        if is_first:
            axes.set_title(_wrapped(explained.title), fontsize=8, parse_math=False)
        if explained.is_flat:
            axes.text(
                0.5, 0.5, FLAT_LABEL, transform=axes.transAxes, ha="center", va="center",
                fontsize=9, bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none"},
            )  # fmt: skip
        else:
            axes.imshow(_map_overlay(explained))


def _row_title(row: ModelExplanation, explanation: Explanation) -> str:
    """Model, predicted class, and the probabilities of the predicted and the explained class."""
    lines = [
        _wrapped(row.title),
        _wrapped(f"predicts {row.predicted}, {_percent(row.probability)}"),
    ]
    if row.predicted != explanation.target:
        lines.append(_wrapped(f"{explanation.target}, {_percent(row.target_probability)}"))
    return "\n".join(lines)


def _percent(share: float) -> str:
    if share < MIN_SHOWN:
        return "below 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, TITLE_CHARS))


def _map_overlay(explained: ExplainedMap) -> NDArray[np.float64]:
    """Return a map as (H, W, 4) RGBA in [0, 1], transparent where its values are small."""
    values = np.asarray(explained.values, dtype=np.float64)
    if explained.is_signed:
        scaled = values / np.abs(values).max()
        colours, magnitude = signed_colours(scaled), np.abs(scaled)
    else:
        scaled = (values - values.min()) / (values.max() - values.min())
        colours, magnitude = heat_colours(scaled), scaled
    colours[..., 3] = MIN_OPACITY + (MAX_OPACITY - MIN_OPACITY) * magnitude
    return colours


def _draw_colour_bars(figure: Figure, grid: Any, maps: list[ExplainedMap]) -> None:
    drawn_signs = {each.is_signed for each in maps if not each.is_flat}
    if False in drawn_signs:
        add_colour_bar(figure, grid, ("a map's lowest", "its highest"), is_signed=False)
    if True in drawn_signs:
        add_colour_bar(figure, grid, ("against the class", "0", "for the class"), is_signed=True)
