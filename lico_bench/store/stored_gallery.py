"""The gallery as readers want it: on disk an image lies with the first of its maps alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lico_bench.errors import BrokenFileError

IMAGE = ["cell", "image_id"]  # what tells one stored image from another
HEAVY = ["image_png", "region_png"]  # kept once for each
GALLERY_COLUMNS = (
    *IMAGE, "dataset", "source", "arm", "seed", "method", "label_name", "predicted_name",
    "correct", "height", "width", "map", *HEAVY,
)  # fmt: skip


def with_images(gallery: pd.DataFrame, where: Path) -> pd.DataFrame:
    """The rows of a gallery with the image in each of them; the bytes are shared, not copied.

    Rows of before, which all hold their image, stay as they are.

    Raises:
        BrokenFileError: for other columns than a gallery has, or a map whose image is missing.
    """
    if gallery.empty:
        return gallery
    missing = [name for name in GALLERY_COLUMNS if name not in gallery.columns]
    if missing:
        raise BrokenFileError(
            f"{where}: a gallery.parquet lacks the columns {', '.join(missing)}; "
            "it was not written by this version, start a new run"
        )
    images = gallery.loc[gallery["image_png"].notna(), [*IMAGE, *HEAVY]]
    images = images.drop_duplicates(IMAGE)
    whole = gallery.drop(columns=HEAVY).merge(images, on=IMAGE, how="left")
    lost = whole["image_png"].isna()
    if lost.any():
        first = whole[lost].iloc[0]
        raise BrokenFileError(
            f"{where}: a map of '{first['image_id']}' in the gallery of cell {first['cell']} has "
            "no image; delete that cell's folder and run the same command again"
        )
    return whole
