"""A gallery is read with the image in every row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lico_bench.errors import BrokenFileError
from lico_bench.store.stored_gallery import with_images

WHERE = Path("run")


def rows(*, once: bool) -> pd.DataFrame:
    """Two cells, two images, two methods; the image with the first map, or with each."""
    return pd.DataFrame(
        {
            "cell": cell, "image_id": image, "dataset": "d", "source": "real", "arm": "a",
            "seed": 0, "method": method, "label_name": "l", "predicted_name": "p", "correct": True,
            "height": 1, "width": 2, "map": np.array([0, 1], np.float16),
            "image_png": None if once and method == "m2" else f"{cell}{image}".encode(),
            "region_png": None,
        }
        for cell in ("c1", "c2")
        for image in ("i1", "i2")
        for method in ("m1", "m2")
    )  # fmt: skip


def test_each_map_gets_the_image_of_its_cell():
    completed = with_images(rows(once=True), WHERE)
    assert len(completed) == 8
    expected = [f"{row.cell}{row.image_id}".encode() for row in completed.itertuples()]
    assert completed["image_png"].tolist() == expected


def test_rows_that_all_hold_their_image_stay_as_they_are():
    before = rows(once=False)
    pd.testing.assert_frame_equal(with_images(before, WHERE)[before.columns], before)


def test_map_without_an_image_is_an_error_that_names_it():
    incomplete = rows(once=True)
    incomplete = incomplete[
        ~(
            (incomplete["cell"] == "c2")
            & (incomplete["image_id"] == "i1")
            & (incomplete["method"] == "m1")
        )
    ]
    with pytest.raises(
        BrokenFileError, match="a map of 'i1' in the gallery of cell c2 has no image"
    ):
        with_images(incomplete, WHERE)


def test_foreign_table_is_an_error_that_names_the_columns():
    with pytest.raises(BrokenFileError, match=r"columns missing .*label_name.*map"):
        with_images(rows(once=True).drop(columns=["map", "label_name"]), WHERE)
