"""Images with the maps of the arms over them, small enough to be carried inside the page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import BESIDE, ReportContent
from lico_bench.report.figures.canvas import heat_colours
from lico_bench.report.gallery_selection import GalleryItem, first_cells, select_gallery_images
from lico_bench.report.page.numbers import setting_title
from lico_bench.report.stored_images import open_stored, stored_map

GROUP_TITLES = {
    "most": "Where the maps differ most",
    "least": "Where they differ least",
    "random": "Drawn at random",
}
MOST_MAPS = 1200  # on one page, up to 4 kB each
PER_GROUP = 4
LONGEST_PX = 224  # of an image; shown at half of that at most
COARSE_PX = 96  # up to which an image is shown with hard pixels
LOSSLESS_BYTES = 12_000  # a larger image is carried as JPEG
SHADES = 64
FAINTEST, STRONGEST = 0.3, 0.85  # opacity where a map is lowest and highest

Scores = dict[tuple[str, str, str, str], float]  # by cell, method, metric and image


@dataclass
class ImageSheet:
    """The images of a page, each carried once; `places` are in `uris`, by an image's bytes."""

    uris: list[str] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)

    def place(self, png: bytes) -> int:
        """The number of an image, the same for the same bytes."""
        if png not in self.places:
            self.places[png] = len(self.uris)
            self.uris.append(image_uri(png))
        return self.places[png]


def galleries(content: ReportContent, album: ImageSheet) -> list[dict[str, Any]]:
    """One entry per block and method: its picked images by group."""
    shown_cells = set().union(*(first_cells(content, block) for block in content.blocks))
    stored = content.run.gallery(shown_cells)
    methods = [method for method in content.methods() if not content.is_control(method)]
    shown = [
        (block, method, picks)
        for block in content.blocks
        for method in methods
        if (picks := select_gallery_images(content, block, stored, method))
    ]
    limit = _per_group(len(shown), len(content.arms))
    specs = {method: _main_spec(content, method) for method in methods}
    scores = _scores(content, [pick for _, _, picks in shown for pick in picks])
    return [
        {
            "dataset": setting_title(content, block),
            "method": content.method_title(method),
            "is_standin": block.is_standin,
            "groups": [
                {"title": title, "images": [
                    _image(content, album, pick, specs[method], scores)
                    for pick in [pick for pick in picks if pick.group == group][:limit]
                ]}
                for group, title in GROUP_TITLES.items()
                if any(pick.group == group for pick in picks)
            ],
        }
        for block, method, picks in shown
    ]  # fmt: skip


def image_uri(png: bytes) -> str:
    """A stored image for the page: as it is if it is small, else scaled down and as JPEG."""
    image = open_stored(png, "an image")
    if len(png) <= LOSSLESS_BYTES:
        return _data_uri(png, "png")
    image.thumbnail((LONGEST_PX, LONGEST_PX))
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=88)
    return _data_uri(stream.getvalue(), "jpeg")


def heat_uri(row: dict[str, Any]) -> str:
    """The map of a gallery row, coloured from its lowest to its highest value.

    A palette of few shades, each with its own opacity, is a quarter of the size of full colours.
    """
    values = stored_map(row)
    span = float(values.max() - values.min())
    scaled = (values - values.min()) / span if span > 0 else np.zeros_like(values)
    image = Image.fromarray(np.round(scaled * (SHADES - 1)).astype(np.uint8), mode="P")
    shades = np.linspace(0, 1, SHADES)
    colours = np.round(255 * heat_colours(shades)[:, :3]).astype(np.uint8)
    image.putpalette(colours.tobytes())
    opacity = np.round(255 * (FAINTEST + (STRONGEST - FAINTEST) * shades)).astype(np.uint8)
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True, transparency=opacity.tobytes())
    return _data_uri(stream.getvalue(), "png")


def _per_group(num_galleries: int, num_arms: int) -> int:
    """Images of each group that keep the page from growing without bound."""
    fits = MOST_MAPS // max(1, num_galleries * num_arms * len(GROUP_TITLES))
    return min(PER_GROUP, max(1, fits))


def _image(
    content: ReportContent,
    album: ImageSheet,
    pick: GalleryItem,
    spec: MetricSpec | None,
    scores: Scores,
) -> dict[str, Any]:
    first = pick.by_arm[content.reference_arm]
    width, height = _size(first["image_png"])
    return {
        "id": first["image_id"],
        "label": first["label_name"],
        "number": album.place(first["image_png"]),
        "width": width,
        "height": height,
        "is_coarse": max(width, height) <= COARSE_PX,
        "distance": f"{pick.difference:.2f}",
        "arms": [
            {
                "number": content.arms.index(arm),
                "title": content.arm_title(arm),
                "predicted": row["predicted_name"],
                "correct": bool(row["correct"]),
                "heat": heat_uri(row),
                "score": _score(spec, scores, row, first),
            }
            for arm, row in pick.by_arm.items()
        ],
    }


def _main_spec(content: ReportContent, method: str) -> MetricSpec | None:
    """The first score of a method's maps that has a direction: what is told beside each map."""
    found = set(content.rows.loc[content.rows["method"] == method, "metric"].unique())
    for name, spec in content.specs.items():
        if name in found and name not in BESIDE and spec.higher_is_better is not None:
            return spec
    return None


def _scores(content: ReportContent, picks: Sequence[GalleryItem]) -> Scores:
    """What the shown maps scored."""
    shown = [row for pick in picks for row in pick.by_arm.values()]
    rows = content.rows
    for name in ("cell", "image_id", "method"):
        rows = rows[rows[name].isin({row[name] for row in shown})]
    keys = zip(rows["cell"], rows["method"], rows["metric"], rows["image_id"], strict=True)
    return dict(zip(keys, rows["value"].astype(float), strict=True))


def _score(
    spec: MetricSpec | None, scores: Scores, row: dict[str, Any], first: dict[str, Any]
) -> str:
    """What one map scored, and how far that is from the reference arm's map."""
    if spec is None:
        return ""
    ours, theirs = (
        scores.get((one["cell"], one["method"], spec.name, one["image_id"]), math.nan)
        for one in (row, first)
    )
    if not math.isfinite(ours):
        return ""
    message = f"{formatting.title_with_arrow(spec)} {formatting.value(ours, spec)}"
    if row is first or not math.isfinite(theirs):
        return message
    return f"{message} ({formatting.signed(ours - theirs, spec)})"


def _size(png: bytes) -> tuple[int, int]:
    """Width and height, which every PNG tells at the same place."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
