"""Images with the maps of every arm over them: where these differ most, least, and at random."""

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
    heat_colours,
    loud_title,
    save_plot,
)
from lico_bench.report.gallery_selection import GROUPS, GalleryItem, select_gallery_images
from lico_bench.report.stored_images import open_stored, stored_map

FAINTEST, STRONGEST = 0.3, 0.8  # opacity where a map is lowest and highest
PRINTED = 3  # images of each group
GALLERY_ARMS = 4
CELL_IN, GAP_IN, WORDS_IN, HEAD_IN, TITLE_IN = 1.05, 0.06, 0.3, 0.3, 0.3
WIDEST_IN = 10.8  # up to which the groups stand beside each other
TITLES = {"most": "differ most", "least": "differ least", "random": "at random"}


def draw_galleries(content: ReportContent, block: Block, gallery: pd.DataFrame) -> Iterator[Plot]:
    """Picked images beside the maps of each arm, one seed."""
    for method in content.methods():
        if content.is_control(method):
            continue
        picks = select_gallery_images(content, block, gallery, method)
        if picks:
            yield _gallery(content, block, method, picks)


def _gallery(
    content: ReportContent, block: Block, method: str, picks: tuple[GalleryItem, ...]
) -> Plot:
    """All images on one pair of axes whose unit is an inch: one axes each takes far longer."""
    arms = content.arms[:GALLERY_ARMS]
    groups = [[pick for pick in picks if pick.group == group][:PRINTED] for group in GROUPS]
    groups = [group for group in groups if group]
    lines = max(map(len, groups))
    wide = (CELL_IN + GAP_IN) * (1 + len(arms)) + 0.2
    high = HEAD_IN + (CELL_IN + WORDS_IN) * lines
    columns = max(1, min(len(groups), int(WIDEST_IN / wide)))
    size = (wide * columns, TITLE_IN + high * -(-len(groups) // columns))
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    for number, group in enumerate(groups):
        top = TITLE_IN + high * (number // columns)
        _group(content, axes, group, arms, wide * (number % columns) + 0.1, top)
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    title = f"{loud_title(block)}: {content.method_title(method)} maps"
    axes.text(size[0] / 2, 0.04, title, ha="center", va="top", fontsize=10, parse_math=False)
    return save_plot(
        figure,
        f"gallery_{block.key}_{formatting.file_stem(method)}",
        kind="gallery",
        title=title,
        caption=_caption(len(content.arms) - len(arms)),
    )


def _caption(num_left_out: int) -> str:
    left_out = f" {formatting.plural(num_left_out, 'arm')} not shown." if num_left_out else ""
    return (
        "Images on which the arms' maps differ most and least, and others at random: only the "
        "last say what is usual. Each with its label, and each arm's map over it with the arm's "
        "prediction. Maps run from their own lowest to their own highest value; d is one minus "
        "the rank correlation of an arm's map with the reference's, its mean where there are "
        f"several arms.{left_out}"
    )


def _group(
    content: ReportContent,
    axes: Axes,
    picks: list[GalleryItem],
    arms: tuple[str, ...],
    left: float,
    top: float,
) -> None:
    heading = f"Maps {TITLES[picks[0].group]}" if len(arms) > 1 else "Images at random"
    if picks[0].group == "random":
        heading = "Images at random"
    axes.text(left, top + 0.02, heading, fontsize=9.5, va="top")
    for line, pick in enumerate(picks):
        y = top + HEAD_IN + line * (CELL_IN + WORDS_IN) + 0.17
        _words(axes, left, y, pick.by_arm[arms[0]]["label_name"])
        image = _image(pick.by_arm[arms[0]])
        _show(axes, image, left, y)
        for number, arm in enumerate(arms, start=1):
            x = left + number * (CELL_IN + GAP_IN)
            row = pick.by_arm[arm]
            sign = "✓" if row["correct"] else "✗"
            _words(axes, x, y, f"{content.arm_title(arm)}: {row['predicted_name']}", sign)
            _show(axes, image, x, y)
            _show(axes, heat(row), x, y)
        if len(content.arms) > 1:
            message = f"d = {pick.difference:.2f}"
            axes.text(left + CELL_IN, y + CELL_IN + 0.02, message, fontsize=6.5, va="top", ha="right",
                      color=GREY)  # fmt: skip


def _words(axes: Axes, x: float, y: float, text: str, sign: str = "") -> None:
    message = f"{_short(text)} {sign}".strip()
    axes.text(x, y - 0.03, message, fontsize=6.5, va="bottom", parse_math=False)


def _show(axes: Axes, image: NDArray[Any], x: float, y: float) -> None:
    axes.imshow(image, extent=(x, x + CELL_IN, y + CELL_IN, y), aspect="auto")


def _image(row: dict[str, Any]) -> NDArray[Any]:
    return np.asarray(open_stored(row["image_png"], f"image '{row['image_id']}'"))


def heat(row: dict[str, Any]) -> NDArray[Any]:
    """(H, W, 4) in [0, 1], from the map's lowest to its highest value, faint where it is low."""
    values = stored_map(row)
    span = float(values.max() - values.min())
    scaled = (values - values.min()) / span if span > 0 else np.zeros_like(values)
    colours = heat_colours(scaled)
    colours[..., 3] = FAINTEST + (STRONGEST - FAINTEST) * scaled
    return colours


def _short(text: str) -> str:
    return text if len(text) <= 17 else f"{text[:16]}…"
