"""Images with saliency maps as overlays: galleries of a run, and one image of `explain`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.figures.canvas import (
    GREY,
    Axes,
    Figure,
    Plot,
    add_colour_bar,
    block_title,
    heat_colours,
    plot_style,
    save_plot,
    signed_colours,
)
from lico_bench.report.gallery import (
    GROUPS,
    GalleryItem,
    open_stored,
    scaled_map,
    select_gallery_images,
    stored_map,
)

if TYPE_CHECKING:
    from lico_bench.bench.explain_image import ExplainedMap, Explanation, ModelExplanation

MIN_OPACITY, MAX_OPACITY = 0.3, 0.8  # where a map is lowest and highest
IMAGES_PER_GROUP = 3
MAX_ARMS = 4
MAX_LABEL_CHARS = 17
CELL_IN, GAP_IN, LABEL_IN, TOP_IN, TITLE_IN = 1.05, 0.06, 0.3, 0.3, 0.3
MAX_WIDTH_IN = 10.8  # the groups are placed side by side up to this width
GROUP_TITLES = {"most": "differ most", "least": "differ least", "random": "at random"}
OVERLAY_CELL_IN = 2.0  # side of an image on paper
# For the title and the colour bar; for the text above a row.
OVERLAY_TOP_IN, OVERLAY_LABEL_IN = 0.7, 0.3
TITLE_CHARS = 24  # that fit above a cell
FLAT_LABEL = "flat map"
MIN_SHOWN = 0.001


def draw_galleries(content: ReportContent, block: Block, gallery: pd.DataFrame) -> Iterator[Plot]:
    """Draw a gallery per method: selected images with the maps of each arm for one seed."""
    for method in content.methods():
        if content.is_control(method):
            continue
        picks = select_gallery_images(content, block, gallery, method)
        if picks:
            yield _draw_gallery(content, block, method, picks)


def _draw_gallery(
    content: ReportContent, block: Block, method: str, picks: tuple[GalleryItem, ...]
) -> Plot:
    """Draw all images on one axes with inches as units; one axes per image is much slower."""
    arms = content.arms[:MAX_ARMS]
    groups = [
        [pick for pick in picks if pick.group == group][:IMAGES_PER_GROUP] for group in GROUPS
    ]
    groups = [group for group in groups if group]
    group_width = (CELL_IN + GAP_IN) * (1 + len(arms)) + 0.2
    group_height = TOP_IN + (CELL_IN + LABEL_IN) * max(map(len, groups))
    columns = max(1, min(len(groups), int(MAX_WIDTH_IN / group_width)))
    size = (group_width * columns, TITLE_IN + group_height * -(-len(groups) // columns))
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    for number, group in enumerate(groups):
        top = TITLE_IN + group_height * (number // columns)
        _draw_group(content, axes, group, arms, group_width * (number % columns) + 0.1, top)
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    title = f"{block_title(block)}: {content.method_title(method)} maps"
    axes.text(size[0] / 2, 0.04, title, ha="center", va="top", fontsize=10, parse_math=False)
    return save_plot(
        figure,
        f"gallery_{block.key}_{formatting.file_stem(method)}",
        kind="gallery",
        title=title,
        caption=_caption(len(content.arms) - len(arms)),
    )


def _caption(num_omitted: int) -> str:
    omitted = f" {formatting.plural(num_omitted, 'arm')} not shown." if num_omitted else ""
    return (
        "Images on which the arms' maps differ most and least, and randomly selected images; only "
        "the random ones are representative. Each image is shown with its label, and with each "
        "arm's map and prediction. Each map is scaled from its lowest to its highest value; d is "
        "one minus the rank correlation of an arm's map with the reference's map, averaged over "
        f"arms.{omitted}"
    )


def _draw_group(
    content: ReportContent,
    axes: Axes,
    picks: list[GalleryItem],
    arms: tuple[str, ...],
    left: float,
    top: float,
) -> None:
    heading = f"Maps {GROUP_TITLES[picks[0].group]}" if len(arms) > 1 else "Images at random"
    if picks[0].group == "random":
        heading = "Images at random"
    axes.text(left, top + 0.02, heading, fontsize=9.5, va="top")
    for line, pick in enumerate(picks):
        y = top + TOP_IN + line * (CELL_IN + LABEL_IN) + 0.17
        first = pick.by_arm[arms[0]]
        _draw_label(axes, left, y, first["label_name"])
        image = np.asarray(open_stored(first["image_png"], f"image '{first['image_id']}'"))
        _draw_image(axes, image, left, y)
        for number, arm in enumerate(arms, start=1):
            x = left + number * (CELL_IN + GAP_IN)
            row = pick.by_arm[arm]
            mark = "✓" if row["correct"] else "✗"
            _draw_label(axes, x, y, f"{content.arm_title(arm)}: {row['predicted_name']}", mark)
            _draw_image(axes, image, x, y)
            _draw_image(axes, map_overlay(stored_map(row)), x, y)
        if len(content.arms) > 1:
            distance = f"d = {pick.difference:.2f}"
            axes.text(left + CELL_IN, y + CELL_IN + 0.02, distance, fontsize=6.5, va="top",
                      ha="right", color=GREY)  # fmt: skip


def _draw_label(axes: Axes, x: float, y: float, text: str, mark: str = "") -> None:
    label = f"{formatting.truncated(text, MAX_LABEL_CHARS)} {mark}".strip()
    axes.text(x, y - 0.03, label, fontsize=6.5, va="bottom", parse_math=False)


def _draw_image(axes: Axes, image: NDArray[Any], x: float, y: float) -> None:
    axes.imshow(image, extent=(x, x + CELL_IN, y + CELL_IN, y), aspect="auto")


def map_overlay(values: NDArray[Any], *, is_signed: bool = False) -> NDArray[np.float64]:
    """Return a map as (H, W, 4) RGBA in [0, 1], transparent where its values are small.

    A signed map is scaled by its largest absolute value, any other from its lowest to its highest.
    """
    if is_signed:
        signed = values.astype(np.float64) / np.abs(values).max()
        colours, magnitude = signed_colours(signed), np.abs(signed)
    else:
        magnitude = scaled_map(values)
        colours = heat_colours(magnitude)
    colours[..., 3] = MIN_OPACITY + (MAX_OPACITY - MIN_OPACITY) * magnitude
    return colours


def draw_overlay(explanation: Explanation) -> Plot:
    """Draw one image with the maps of several models (rows) and methods (columns).

    White is zero in a signed map. A constant map is labelled instead of drawn.
    """
    num_rows, num_maps = len(explanation.rows), len(explanation.rows[0].maps)
    with plot_style():
        height = OVERLAY_TOP_IN + (OVERLAY_CELL_IN + OVERLAY_LABEL_IN) * num_rows
        figure = Figure(figsize=(OVERLAY_CELL_IN * (1 + num_maps), height), layout="constrained")
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
            axes.imshow(map_overlay(explained.values, is_signed=explained.is_signed))


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


def _draw_colour_bars(figure: Figure, grid: Any, maps: list[ExplainedMap]) -> None:
    drawn_signs = {each.is_signed for each in maps if not each.is_flat}
    if False in drawn_signs:
        add_colour_bar(figure, grid, ("a map's lowest", "its highest"), is_signed=False)
    if True in drawn_signs:
        add_colour_bar(figure, grid, ("against the class", "0", "for the class"), is_signed=True)
