"""Galleries of images with the saliency maps of every arm as overlays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
    block_title,
    heat_colours,
    save_plot,
)
from lico_bench.report.gallery_selection import GROUPS, GalleryItem, select_gallery_images
from lico_bench.report.stored_images import open_stored, stored_map

MIN_OPACITY, MAX_OPACITY = 0.3, 0.8  # where a map is lowest and highest
IMAGES_PER_GROUP = 3
MAX_ARMS = 4
MAX_LABEL_CHARS = 17
CELL_IN, GAP_IN, LABEL_IN, TOP_IN, TITLE_IN = 1.05, 0.06, 0.3, 0.3, 0.3
MAX_WIDTH_IN = 10.8  # the groups are placed side by side up to this width
GROUP_TITLES = {"most": "differ most", "least": "differ least", "random": "at random"}


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
            _draw_image(axes, map_overlay(row), x, y)
        if len(content.arms) > 1:
            distance = f"d = {pick.difference:.2f}"
            axes.text(left + CELL_IN, y + CELL_IN + 0.02, distance, fontsize=6.5, va="top",
                      ha="right", color=GREY)  # fmt: skip


def _draw_label(axes: Axes, x: float, y: float, text: str, mark: str = "") -> None:
    label = f"{_truncated(text)} {mark}".strip()
    axes.text(x, y - 0.03, label, fontsize=6.5, va="bottom", parse_math=False)


def _draw_image(axes: Axes, image: NDArray[Any], x: float, y: float) -> None:
    axes.imshow(image, extent=(x, x + CELL_IN, y + CELL_IN, y), aspect="auto")


def map_overlay(row: dict[str, Any]) -> NDArray[Any]:
    """Return a map as (H, W, 4) RGBA in [0, 1], scaled to its range, transparent where low."""
    values = stored_map(row)
    span = float(values.max() - values.min())
    scaled = (values - values.min()) / span if span > 0 else np.zeros_like(values)
    colours = heat_colours(scaled)
    colours[..., 3] = MIN_OPACITY + (MAX_OPACITY - MIN_OPACITY) * scaled
    return colours


def _truncated(text: str) -> str:
    return text if len(text) <= MAX_LABEL_CHARS else f"{text[: MAX_LABEL_CHARS - 1]}…"
