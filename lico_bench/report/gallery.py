"""Images of the gallery: selection by the map difference between arms, and embedding in the page.

Selected are the largest and the smallest differences, and images at random. Only the random ones
are representative of the average.

The difference of two maps is one minus the Spearman rank correlation of their pixels. It depends
on the order of the pixels only, as insertion and deletion do: 0 for the same order, 1 for
uncorrelated maps, 2 for the reverse order. A constant map differs by 0 from another constant map
and by 1 from any other map. With several arms, the differences to the reference arm are averaged.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from lico_bench.errors import BrokenFileError
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import AUXILIARY_METRICS, Block, ReportContent, rows_of
from lico_bench.report.figures.canvas import heat_colours

Group = Literal["most", "least", "random"]
GROUPS: tuple[Group, ...] = ("most", "least", "random")
PER_GROUP = 4
RANDOM_SEED = 20_230
Floats = NDArray[np.float64]
MAX_PIXELS = 2**24  # of a stored image; 4096 x 4096, far more than any model input
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


@dataclass(frozen=True)
class GalleryItem:
    """One selected image with the gallery row of every arm.

    Attributes:
        group: reason of the selection.
        by_arm: gallery row by arm; each row contains the image.
        difference: mean difference between the maps of the arms, in [0, 2].
    """

    group: Group
    by_arm: dict[str, dict[str, Any]]
    difference: float


def select_gallery_images(
    content: ReportContent, block: Block, gallery: pd.DataFrame, method: str
) -> tuple[GalleryItem, ...]:
    """Select up to `PER_GROUP` different images per group, in the order most, least, random.

    Args:
        gallery: rows of `RunFolder.gallery`; rows of other blocks and methods are ignored.

    Returns:
        Images of the first complete seed that every arm explained. With fewer than three images,
        all are in the random group. The selection is deterministic.
    """
    images = _explained_by_all(content, block, gallery, method)
    if not images:
        return ()
    differences = _differences(images)
    return tuple(
        GalleryItem(group, images[k], float(differences[k])) for group, k in _grouped(differences)
    )


def map_difference(maps_a: Floats, maps_b: Floats) -> Floats:
    """Return (N,) one minus the Spearman correlation of paired rows of two (N, P) arrays of maps.

    Source: Spearman, 1904; ties share their mean rank. Constant maps: see the module docstring.
    """
    from scipy.stats import rankdata  # imported here because it takes a second

    ranks_a, ranks_b = (rankdata(maps, axis=1) for maps in (maps_a, maps_b))
    ranks_a -= ranks_a.mean(1, keepdims=True)
    ranks_b -= ranks_b.mean(1, keepdims=True)
    squares_a, squares_b = (np.square(ranks).sum(1) for ranks in (ranks_a, ranks_b))
    norm = np.sqrt(squares_a * squares_b)
    product = (ranks_a * ranks_b).sum(1)
    correlation = np.divide(product, norm, out=np.zeros_like(norm), where=norm > 0)
    correlation[(squares_a == 0) & (squares_b == 0)] = 1.0
    difference: Floats = np.clip(1 - correlation, 0.0, 2.0)
    return difference


def _explained_by_all(
    content: ReportContent, block: Block, gallery: pd.DataFrame, method: str
) -> list[dict[str, dict[str, Any]]]:
    """Return the gallery rows by arm of each image of the first seed that every arm explained."""
    selected = gallery[
        gallery["cell"].isin(first_cells(content, block)) & (gallery["method"] == method)
    ]
    images = []
    for _, rows in selected.groupby("image_id", sort=True):
        records = cast("list[dict[str, Any]]", rows.to_dict("records"))
        by_arm = {str(row["arm"]): row for row in records}
        sizes = {stored_map(row).size for row in by_arm.values()}
        if set(content.arms) <= set(by_arm) and len(sizes) == 1:
            images.append({arm: by_arm[arm] for arm in content.arms})
    return images


def first_cells(content: ReportContent, block: Block) -> set[str]:
    """Return the cells of a block shown in the gallery: the first seed that has every arm."""
    cells = rows_of(content.cells, block.setting)
    num_arms = cells.groupby("seed")["arm"].nunique()
    seeds = num_arms.index[num_arms == len(content.arms)]
    return set(cells.loc[cells["seed"] == seeds.min(), "cell"]) if len(seeds) else set()


def _differences(images: list[dict[str, dict[str, Any]]]) -> Floats:
    """Return (N,) mean difference of the other arms' maps to the reference map; 0 for one arm."""
    means = np.zeros(len(images))
    for k, by_arm in enumerate(images):
        reference, *others = (np.asarray(row["map"], np.float64) for row in by_arm.values())
        if others:
            repeated = reference[None].repeat(len(others), 0)
            means[k] = map_difference(repeated, np.stack(others)).mean()
    return means


def _grouped(differences: Floats) -> Iterator[tuple[Group, int]]:
    """Yield group and index of each selected image."""
    num_extreme = min(PER_GROUP, len(differences) // len(GROUPS))
    order = np.argsort(-differences, kind="stable").tolist()
    most, least = order[:num_extreme], order[::-1][:num_extreme]
    rest = sorted(set(order) - set(most) - set(least))
    random = np.random.default_rng(RANDOM_SEED).permutation(rest)[:PER_GROUP].tolist()
    for group, chosen in zip(GROUPS, (most, least, sorted(random)), strict=True):
        for k in chosen:
            yield group, k


def open_stored(png: Any, what: str) -> Image.Image:
    """Decode a PNG of a gallery, which is untrusted input, into an 8-bit RGB image.

    Args:
        what: name of the image in error messages.

    Raises:
        BrokenFileError: if `png` is not a PNG, is damaged, or has more than `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(f"{opened.width} x {opened.height} pixels")
            return opened.convert("RGB")
    # Pillow raises these on damaged files, Python on values that are not bytes.
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, Image.DecompressionBombError,
            Image.DecompressionBombWarning) as error:  # fmt: skip
        raise BrokenFileError(
            f"gallery, {what}: expected a PNG image ({error}); score the cell again"
        ) from error


def stored_map(row: dict[str, Any]) -> NDArray[np.float64]:
    """Return the map of a gallery row, (H, W) float64.

    Raises:
        BrokenFileError: if the number of values is not height times width, or a value is not
            finite.
    """
    try:
        values = np.asarray(row["map"], dtype=float).reshape(int(row["height"]), int(row["width"]))
    except (TypeError, ValueError, OverflowError) as error:
        raise BrokenFileError(
            f"gallery, map of '{row['image_id']}' by {row['method']}: expected height times width "
            f"values ({error}); score the cell again"
        ) from error
    if not values.size or not np.isfinite(values).all():
        raise BrokenFileError(
            f"gallery, map of '{row['image_id']}' by {row['method']}: expected finite values, got "
            "none, NaN or infinity; score the cell again"
        )
    return values


def scaled_map(values: NDArray[Any]) -> Floats:
    """Return a map in [0, 1], scaled from its lowest to its highest value; 0 if it is constant."""
    lowest, highest = float(values.min()), float(values.max())
    if lowest == highest:
        return np.zeros(values.shape)
    scaled: Floats = (values.astype(np.float64) - lowest) / (highest - lowest)
    return scaled


def galleries(content: ReportContent) -> tuple[list[dict[str, Any]], list[str]]:
    """Return one entry per block and method with its selected images by group, and their URIs.

    Entries refer to images by number, so that an image of several methods is embedded once.
    """
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
    numbers: dict[bytes, int] = {}
    entries = [
        {
            "dataset": content.setting_title(block),
            "method": content.method_title(method),
            "is_standin": block.is_standin,
            "groups": [
                {"title": title, "images": [
                    _image(content, item, numbers, specs[method], scores)
                    for item in [item for item in items if item.group == group][:limit]
                ]}
                for group, title in GROUP_TITLES.items()
                if any(item.group == group for item in items)
            ],
        }
        for block, method, items in selections
    ]  # fmt: skip
    return entries, [image_uri(png) for png in numbers]


def data_uri(image: bytes, kind: str = "png") -> str:
    """Return an encoded image as a data URI; `kind` is `png` or `jpeg`."""
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


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
    item: GalleryItem,
    numbers: dict[bytes, int],
    spec: MetricSpec | None,
    scores: Scores,
) -> dict[str, Any]:
    reference = item.by_arm[content.reference_arm]
    png: bytes = reference["image_png"]
    width, height = _size(png)
    return {
        "id": reference["image_id"],
        "label": reference["label_name"],
        "number": numbers.setdefault(png, len(numbers)),
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
