"""Completion of a stored gallery, which holds each image only with the first of its maps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lico_bench.errors import BrokenFileError

IMAGE_KEY = ["cell", "image_id"]  # columns that identify an image
IMAGE_COLUMNS = ["image_png", "region_png"]  # stored once per image
GALLERY_COLUMNS = (
    *IMAGE_KEY, "dataset", "source", "arm", "seed", "method", "label_name", "predicted_name",
    "correct", "height", "width", "map", *IMAGE_COLUMNS,
)  # fmt: skip


def with_images(gallery: pd.DataFrame, where: Path) -> pd.DataFrame:
    """Return the rows of a gallery with the image in every row; the bytes are not copied.

    Galleries of older versions, which store the image in every row, are returned unchanged.

    Args:
        where: path for error messages.

    Raises:
        BrokenFileError: for missing columns, or a map without an image.
    """
    if gallery.empty:
        return gallery
    missing = [name for name in GALLERY_COLUMNS if name not in gallery.columns]
    if missing:
        raise BrokenFileError(
            f"{where}: columns missing in a gallery.parquet: {', '.join(missing)}; "
            "it was not written by this version, start a new run"
        )
    images = gallery.loc[gallery["image_png"].notna(), [*IMAGE_KEY, *IMAGE_COLUMNS]]
    images = images.drop_duplicates(IMAGE_KEY)
    completed = gallery.drop(columns=IMAGE_COLUMNS).merge(images, on=IMAGE_KEY, how="left")
    is_missing = completed["image_png"].isna()
    if is_missing.any():
        first = completed[is_missing].iloc[0]
        raise BrokenFileError(
            f"{where}: a map of '{first['image_id']}' in the gallery of cell {first['cell']} has "
            "no image; delete that cell's folder and run the same command again"
        )
    return completed
