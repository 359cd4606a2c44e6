"""Pictures with the maps of every arm over them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from lico_bench.report import wording
from lico_bench.report.content import Block, Content
from lico_bench.report.figures.canvas import (
    Figure,
    Plot,
    cells_of,
    heat_colours,
    loud_title,
    save_plot,
)

FAINTEST, STRONGEST = 0.3, 0.8  # opacity where a map is lowest and highest
GALLERY_ROWS = 6
GALLERY_ARMS = 4


def draw_galleries(content: Content, block: Block, gallery: pd.DataFrame) -> Iterator[Plot]:
    """Pictures beside the maps of each arm, one seed."""
    for method in content.methods():
        if content.is_control(method):
            continue
        rows = pictures(content, block, gallery, method)
        if not rows:
            continue
        arms = content.arms[:GALLERY_ARMS]
        figure = Figure(figsize=(1.75 * (1 + len(arms)), 0.3 + 1.95 * len(rows[:GALLERY_ROWS])))
        grid = figure.subplots(min(len(rows), GALLERY_ROWS), 1 + len(arms), squeeze=False)
        for line, by_arm in zip(grid, rows, strict=False):
            _gallery_line(content, line, by_arm, arms)
        title = f"{loud_title(block)}: {content.method_title(method)} maps"
        figure.suptitle(title, fontsize=10)
        caption = (
            "Each picture with its label, and each arm's map over it with the arm's prediction. "
            "Maps run from their own lowest to their own highest value."
        )
        yield save_plot(
            figure,
            f"gallery_{block.key}_{wording.file_stem(method)}",
            kind="gallery",
            title=title,
            caption=caption,
        )


def pictures(
    content: Content, block: Block, gallery: pd.DataFrame, method: str
) -> list[dict[str, dict[str, Any]]]:
    """For each picture of the first seed that every arm explained: its gallery rows by arm."""
    part = gallery[
        (gallery["dataset"] == block.dataset)
        & (gallery["source"] == block.source)
        & (gallery["method"] == method)
        & gallery["cell"].isin(cells_of(content, block))
    ]
    if part.empty:
        return []
    part = part[part["seed"] == part["seed"].min()]
    found = []
    for _, rows in part.groupby("image_id", sort=True):
        by_arm = {str(row["arm"]): dict(row) for _, row in rows.iterrows()}
        if set(content.arms) <= set(by_arm):
            found.append(by_arm)
    return found


def heat_png(row: dict[str, Any]) -> bytes:
    """The saliency map of a gallery row as a coloured PNG that lets the picture shine through."""
    stream = io.BytesIO()
    Image.fromarray((255 * _heat(row)).astype(np.uint8)).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _gallery_line(
    content: Content, line: Any, by_arm: dict[str, dict[str, Any]], arms: tuple[str, ...]
) -> None:
    first = by_arm[arms[0]]
    with Image.open(io.BytesIO(first["image_png"])) as opened:
        picture = np.asarray(opened.convert("RGB"))
    for axes in line:
        axes.set_axis_off()
    line[0].imshow(picture)
    line[0].set_title(_short(first["label_name"]), fontsize=8, parse_math=False)
    for axes, arm in zip(line[1:], arms, strict=True):
        row = by_arm[arm]
        axes.imshow(picture)
        height, width = picture.shape[:2]
        axes.imshow(_heat(row), extent=(-0.5, width - 0.5, height - 0.5, -0.5))
        sign = "✓" if row["correct"] else "✗"
        told = f"{content.arm_title(arm)}: {_short(row['predicted_name'])} {sign}"
        axes.set_title(told, fontsize=8, parse_math=False)


def _heat(row: dict[str, Any]) -> np.ndarray[Any, Any]:
    """(H, W, 4) in [0, 1], from the map's lowest to its highest value, faint where it is low."""
    values = np.asarray(row["map"], dtype=float).reshape(row["height"], row["width"])
    span = float(values.max() - values.min())
    scaled = (values - values.min()) / span if span > 0 else np.zeros_like(values)
    colours = heat_colours(scaled)
    colours[..., 3] = FAINTEST + (STRONGEST - FAINTEST) * scaled
    return colours


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
