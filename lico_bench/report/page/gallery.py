"""Gallery images with the saliency maps of the arms, compressed for embedding in the page."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import AUXILIARY_METRICS, ReportContent
from lico_bench.report.figures.canvas import heat_colours
from lico_bench.report.gallery_images import (
    PER_GROUP,
    GalleryItem,
    first_cells,
    open_stored,
    scaled_map,
    select_gallery_images,
    stored_map,
)
from lico_bench.report.page.numbers import setting_title
from lico_bench.report.templating import data_uri

GROUP_TITLES = {
    "most": "Where the maps differ most",
    "least": "Where the maps differ least",
    "random": "Selected at random",
}
MAX_MAPS = 1200  # on one page, up to 4 kB each
MAX_SIDE_PX = 224  # longer side of an embedded image; shown at half of that at most
COARSE_PX = 96  # images up to this size are shown with sharp pixel edges
LOSSLESS_BYTES = 12_000  # larger images are embedded as JPEG
SHADES = 64
MIN_OPACITY, MAX_OPACITY = 0.3, 0.85  # at the lowest and highest value of a map

Scores = dict[tuple[str, str, str, str], float]  # by cell, method, metric and image


@dataclass
class ImageSheet:
    """Images of a page, each embedded once; `indices` maps image bytes to an index in `uris`."""

    uris: list[str] = field(default_factory=list)
    indices: dict[bytes, int] = field(default_factory=dict)

    def add(self, png: bytes) -> int:
        """Add an image and return its index; equal bytes have the same index."""
        if png not in self.indices:
            self.indices[png] = len(self.uris)
            self.uris.append(image_uri(png))
        return self.indices[png]


def galleries(content: ReportContent, sheet: ImageSheet) -> list[dict[str, Any]]:
    """Return one entry per block and method with its selected images by group."""
    shown_cells = set().union(*(first_cells(content, block) for block in content.blocks))
    stored = content.run.gallery(shown_cells)
    methods = [method for method in content.methods() if not content.is_control(method)]
    selections = [
        (block, method, items)
        for block in content.blocks
        for method in methods
        if (items := select_gallery_images(content, block, stored, method))
    ]
    limit = _per_group(len(selections), len(content.arms))
    specs = {method: _main_spec(content, method) for method in methods}
    scores = _scores(content, [item for _, _, items in selections for item in items])
    return [
        {
            "dataset": setting_title(content, block),
            "method": content.method_title(method),
            "is_standin": block.is_standin,
            "groups": [
                {"title": title, "images": [
                    _image(content, sheet, item, specs[method], scores)
                    for item in [item for item in items if item.group == group][:limit]
                ]}
                for group, title in GROUP_TITLES.items()
                if any(item.group == group for item in items)
            ],
        }
        for block, method, items in selections
    ]  # fmt: skip


def image_uri(png: bytes) -> str:
    """Return a stored image as a data URI: unchanged if small, else resized and as JPEG."""
    image = open_stored(png, "an image")
    if len(png) <= LOSSLESS_BYTES:
        return data_uri(png)
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=88)
    return data_uri(stream.getvalue(), "jpeg")


def heat_uri(row: dict[str, Any]) -> str:
    """Return the map of a gallery row as a data URI, coloured from its lowest to its highest value.

    A palette with an opacity per shade takes a quarter of the bytes of an RGBA image.
    """
    scaled = scaled_map(stored_map(row))
    image = Image.fromarray(np.round(scaled * (SHADES - 1)).astype(np.uint8), mode="P")
    shades = np.linspace(0, 1, SHADES)
    colours = np.round(255 * heat_colours(shades)[:, :3]).astype(np.uint8)
    image.putpalette(colours.tobytes())
    opacity = np.round(255 * (MIN_OPACITY + (MAX_OPACITY - MIN_OPACITY) * shades)).astype(np.uint8)
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True, transparency=opacity.tobytes())
    return data_uri(stream.getvalue())


def _per_group(num_galleries: int, num_arms: int) -> int:
    """Return the number of images per group that keeps the page within `MAX_MAPS` maps."""
    limit = MAX_MAPS // max(1, num_galleries * num_arms * len(GROUP_TITLES))
    return min(PER_GROUP, max(1, limit))


def _image(
    content: ReportContent,
    sheet: ImageSheet,
    item: GalleryItem,
    spec: MetricSpec | None,
    scores: Scores,
) -> dict[str, Any]:
    reference = item.by_arm[content.reference_arm]
    width, height = _size(reference["image_png"])
    return {
        "id": reference["image_id"],
        "label": reference["label_name"],
        "number": sheet.add(reference["image_png"]),
        "width": width,
        "height": height,
        "is_coarse": max(width, height) <= COARSE_PX,
        "distance": f"{item.difference:.2f}",
        "arms": [
            {
                "number": content.arms.index(arm),
                "title": content.arm_title(arm),
                "predicted": row["predicted_name"],
                "correct": bool(row["correct"]),
                "heat": heat_uri(row),
                "score": _score(spec, scores, row, reference),
            }
            for arm, row in item.by_arm.items()
        ],
    }


def _main_spec(content: ReportContent, method: str) -> MetricSpec | None:
    """Return the first metric of a method that has a direction; it is shown with each map."""
    scored = set(content.rows.loc[content.rows["method"] == method, "metric"].unique())
    for name, spec in content.specs.items():
        if name in scored and name not in AUXILIARY_METRICS and spec.higher_is_better is not None:
            return spec
    return None


def _scores(content: ReportContent, items: Sequence[GalleryItem]) -> Scores:
    """Return the scores of the selected maps."""
    shown = [row for item in items for row in item.by_arm.values()]
    rows = content.rows
    for name in ("cell", "image_id", "method"):
        rows = rows[rows[name].isin({row[name] for row in shown})]
    keys = zip(rows["cell"], rows["method"], rows["metric"], rows["image_id"], strict=True)
    return dict(zip(keys, rows["value"].astype(float), strict=True))


def _score(
    spec: MetricSpec | None, scores: Scores, row: dict[str, Any], reference: dict[str, Any]
) -> str:
    """Return the score of one map as text, with the difference to the reference arm's map."""
    if spec is None:
        return ""
    score, reference_score = (
        scores.get((each["cell"], each["method"], spec.name, each["image_id"]), math.nan)
        for each in (row, reference)
    )
    if not math.isfinite(score):
        return ""
    text = f"{formatting.title_with_arrow(spec)} {formatting.value(score, spec)}"
    if row is reference or not math.isfinite(reference_score):
        return text
    return f"{text} ({formatting.signed(score - reference_score, spec)})"


def _size(png: bytes) -> tuple[int, int]:
    """Return width and height from the header of a PNG."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
