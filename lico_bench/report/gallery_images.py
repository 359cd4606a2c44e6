"""Images of the gallery: decoding, and selection by the map difference between arms.

Shown are the largest and the smallest differences, and images selected at random.

The difference of two maps is one minus the Spearman rank correlation of their pixels. It depends
on the order of the pixels only, as insertion and deletion do: 0 for the same order, 1 for
uncorrelated maps, 2 for the reverse order. A constant map differs by 0 from another constant map
and by 1 from any other map. With several arms, the differences to the reference arm are averaged.

Only the random images are representative of the average; the extremes are not.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from lico_bench.errors import BrokenFileError
from lico_bench.report.content import SETTING, Block, ReportContent

Group = Literal["most", "least", "random"]
GROUPS: tuple[Group, ...] = ("most", "least", "random")
PER_GROUP = 4
RANDOM_SEED = 20_230
Floats = NDArray[np.float64]
MAX_PIXELS = 2**24  # of a stored image; 4096 x 4096, far more than any model input


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
    cells = content.cells
    for name in SETTING:
        cells = cells[cells[name] == getattr(block, name)]
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
