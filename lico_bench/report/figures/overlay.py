"""One image with the maps of several models (rows) and methods (columns) laid over it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lico_bench.report.figures.canvas import (
    Figure,
    Plot,
    colour_bar,
    drawing,
    heat_colours,
    save_plot,
    signed_colours,
)
from lico_bench.report.figures.gallery import FAINTEST, STRONGEST

if TYPE_CHECKING:
    from lico_bench.bench.explain_image import ExplainedBy, ExplainedMap, Explanation

CELL_IN = 2.0  # side of an image on paper
HEAD_IN, WORDS_IN = 0.7, 0.3  # for the title and the scale; for the words over a row
TITLE_SIGNS = 24  # that fit over a cell
FLAT = "flat map"
LEAST_SHOWN = 0.001


def draw_overlay(explanation: Explanation) -> Plot:
    """The labelled grid as PNG and PDF.

    Each map runs from its own lowest to its own highest value; one whose sign has a meaning is
    scaled by its largest size, so that white is zero. A map of one value is not drawn but named.
    """
    num_rows, num_maps = len(explanation.rows), len(explanation.rows[0].maps)
    with drawing():
        figure = Figure(
            figsize=(CELL_IN * (1 + num_maps), HEAD_IN + (CELL_IN + WORDS_IN) * num_rows),
            layout="constrained",
        )
        grid = figure.subplots(num_rows, 1 + num_maps, squeeze=False)
        for line, row in zip(grid, explanation.rows, strict=True):
            _draw_row(line, row, explanation, is_first=row is explanation.rows[0])
        _draw_scales(figure, grid, [one for row in explanation.rows for one in row.maps])
        title = f"class explained: {explanation.target} ({explanation.chosen_by})"
        figure.suptitle("\n".join(textwrap.wrap(title, 26 * (1 + num_maps))), fontsize=10)
        caption = "Each map from its own lowest to its own highest value."
        return save_plot(figure, "overlay", kind="overlay", title=title, caption=caption)


def _draw_row(line: Any, row: ExplainedBy, explanation: Explanation, *, is_first: bool) -> None:
    for axes in line:
        axes.imshow(explanation.image)
        axes.set_axis_off()
    line[0].set_title(_words_of(row, explanation), fontsize=8, loc="left", parse_math=False)
    for axes, one in zip(line[1:], row.maps, strict=True):
        if is_first:
            axes.set_title(_wrapped(one.title), fontsize=8, parse_math=False)
        if one.is_flat:
            axes.text(
                0.5, 0.5, FLAT, transform=axes.transAxes, ha="center", va="center", fontsize=9,
                bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none"},
            )  # fmt: skip
        else:
            axes.imshow(_heat(one))


def _words_of(row: ExplainedBy, explanation: Explanation) -> str:
    """Who speaks, what it predicts and how sure it is of the class explained."""
    lines = [
        _wrapped(row.title),
        _wrapped(f"predicts {row.predicted}, {_percent(row.probability)}"),
    ]
    if row.predicted != explanation.target:
        lines.append(_wrapped(f"{explanation.target}, {_percent(row.target_probability)}"))
    return "\n".join(lines)


def _percent(share: float) -> str:
    if share < LEAST_SHOWN:
        return "below 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, TITLE_SIGNS))


def _heat(one: ExplainedMap) -> NDArray[np.float64]:
    """(H, W, 4) in [0, 1], faint where the map says little."""
    values = np.asarray(one.values, dtype=np.float64)
    if one.is_signed:
        scaled = values / np.abs(values).max()
        colours, strength = signed_colours(scaled), np.abs(scaled)
    else:
        scaled = (values - values.min()) / (values.max() - values.min())
        colours, strength = heat_colours(scaled), scaled
    colours[..., 3] = FAINTEST + (STRONGEST - FAINTEST) * strength
    return colours


def _draw_scales(figure: Figure, grid: Any, maps: list[ExplainedMap]) -> None:
    drawn = {one.is_signed for one in maps if not one.is_flat}
    if False in drawn:
        colour_bar(figure, grid, ("a map's lowest", "its highest"), is_signed=False)
    if True in drawn:
        colour_bar(figure, grid, ("against the class", "0", "for the class"), is_signed=True)
