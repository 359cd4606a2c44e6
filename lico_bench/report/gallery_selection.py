"""Which images of the gallery are shown: where the arms' maps differ most, least, and at random.

Two maps of an image differ by one minus the rank correlation of their pixels (Spearman), which
asks for the order of the pixels alone, as insertion, deletion and the eye do: 0 for the same order,
1 for unrelated maps, 2 for the reverse. A flat map has no order: against another flat map it
differs by 0, against any other by 1. Of several arms the mean over their differences to the
reference counts.

The extremes are chosen for being extreme and say nothing of the average; the random ones do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lico_bench.report.content import SETTING, Block, ReportContent
from lico_bench.report.stored_images import stored_map

Group = Literal["most", "least", "random"]
GROUPS: tuple[Group, ...] = ("most", "least", "random")
PER_GROUP = 4
DRAW = 20_230  # of the generator that draws the random ones
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GalleryItem:
    """One image and what every arm makes of it.

    Attributes:
        group: why it is shown.
        by_arm: the gallery row of each arm, the image itself in each of them.
        difference: between the arms' maps, in [0, 2].
    """

    group: Group
    by_arm: dict[str, dict[str, Any]]
    difference: float


def select_gallery_images(
    content: ReportContent, block: Block, gallery: pd.DataFrame, method: str
) -> tuple[GalleryItem, ...]:
    """Up to `PER_GROUP` images of each group in the order most, least, random; none twice.

    Args:
        gallery: rows of `RunFolder.gallery`; those of other blocks and methods are left out.

    Returns:
        Of the first seed, of the images that every arm explained. Fewer than three images are
        all called random; equal rows give equal picks.
    """
    found = _explained_by_all(content, block, gallery, method)
    if not found:
        return ()
    differences = _differences(found)
    return tuple(
        GalleryItem(group, found[k], float(differences[k])) for group, k in _grouped(differences)
    )


def map_difference(one: Floats, other: Floats) -> Floats:
    """(N,) one minus the Spearman correlation of each pair of rows of two (N, P) arrays of maps.

    Source: Spearman, 1904; ties share their mean rank. Flat maps: see the top of this file.
    """
    from scipy.stats import rankdata  # a second to import

    ranks, others = (rankdata(maps, axis=1) for maps in (one, other))
    ranks -= ranks.mean(1, keepdims=True)
    others -= others.mean(1, keepdims=True)
    sizes, other_sizes = (np.square(each).sum(1) for each in (ranks, others))
    both = np.sqrt(sizes * other_sizes)
    together = (ranks * others).sum(1)
    correlation = np.divide(together, both, out=np.zeros_like(both), where=both > 0)
    correlation[(sizes == 0) & (other_sizes == 0)] = 1.0
    difference: Floats = np.clip(1 - correlation, 0.0, 2.0)
    return difference


def _explained_by_all(
    content: ReportContent, block: Block, gallery: pd.DataFrame, method: str
) -> list[dict[str, dict[str, Any]]]:
    """For each image of the first seed that every arm explained: its gallery rows by arm."""
    part = gallery[
        gallery["cell"].isin(first_cells(content, block)) & (gallery["method"] == method)
    ]
    found = []
    for _, rows in part.groupby("image_id", sort=True):
        records = cast("list[dict[str, Any]]", rows.to_dict("records"))
        by_arm = {str(row["arm"]): row for row in records}
        sizes = {stored_map(row).size for row in by_arm.values()}
        if set(content.arms) <= set(by_arm) and len(sizes) == 1:
            found.append({arm: by_arm[arm] for arm in content.arms})
    return found


def first_cells(content: ReportContent, block: Block) -> set[str]:
    """The cells of a block that the gallery shows: those of the first seed that has every arm."""
    cells = content.cells
    for name in SETTING:
        cells = cells[cells[name] == getattr(block, name)]
    arms = cells.groupby("seed")["arm"].nunique()
    whole = arms.index[arms == len(content.arms)]
    return set(cells.loc[cells["seed"] == whole.min(), "cell"]) if len(whole) else set()


def _differences(found: list[dict[str, dict[str, Any]]]) -> Floats:
    """(N,) mean over the other arms of the difference to the reference's map; 0 for one arm."""
    means = np.zeros(len(found))
    for k, by_arm in enumerate(found):
        reference, *others = (np.asarray(row["map"], np.float64) for row in by_arm.values())
        if others:
            repeated = reference[None].repeat(len(others), 0)
            means[k] = map_difference(repeated, np.stack(others)).mean()
    return means


def _grouped(differences: Floats) -> Iterator[tuple[Group, int]]:
    count = len(differences)
    extreme = min(PER_GROUP, count // len(GROUPS))
    order = np.argsort(-differences, kind="stable").tolist()
    most, least = order[:extreme], order[::-1][:extreme]
    rest = sorted(set(order) - set(most) - set(least))
    drawn = np.random.default_rng(DRAW).permutation(rest)[:PER_GROUP].tolist()
    for group, chosen in zip(GROUPS, (most, least, sorted(drawn)), strict=True):
        for k in chosen:
            yield group, k
