"""Joined rows keep all values, texts become sorted categories; a gallery gets all its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lico_bench.errors import BrokenFileError
from lico_bench.store.tables import join_rows, keep_rows, with_images

WHERE = Path("run")


def encoded(**columns: list) -> pa.Table:
    table = pa.table(columns)
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(number, field.name, table.column(number).dictionary_encode())
    return table


def test_tables_follow_one_another_and_texts_stay_what_they_are():
    tables = [
        encoded(arm=["lico", "baseline"], value=[1.0, None], seed=[0, 1]),
        encoded(arm=["cgc", "lico"], value=[3.0, 4.0], seed=[2, 3]),
    ]
    frame = join_rows(iter(tables), ("value", "arm", "seed"))
    assert list(frame.columns) == ["value", "arm", "seed"]
    assert frame["arm"].tolist() == ["lico", "baseline", "cgc", "lico"]
    assert frame["arm"].cat.categories.tolist() == ["baseline", "cgc", "lico"]
    np.testing.assert_array_equal(frame["value"], [1.0, np.nan, 3.0, 4.0])
    assert frame["seed"].dtype == np.int64


def test_a_missing_text_stays_missing():
    frame = join_rows([encoded(flag=["", None, "skipped"])], ("flag",))
    assert frame["flag"].isna().tolist() == [False, True, False]


def test_a_table_without_rows_changes_no_kind():
    empty = pa.table({"arm": pa.nulls(0), "value": pa.nulls(0)})
    frame = join_rows([empty, encoded(arm=["lico"], value=[1.0])], ("arm", "value"))
    assert isinstance(frame["arm"].dtype, pd.CategoricalDtype)
    assert frame["value"].dtype == np.float64
    assert join_rows([empty], ("arm", "value")).empty


def test_texts_and_numbers_in_one_column_are_handed_on_as_they_are():
    frame = join_rows([encoded(labels=["full"]), encoded(labels=[400])], ("labels",))
    assert frame["labels"].tolist() == ["full", 400]


@pytest.mark.parametrize("many", [1, 126, 127, 128, 40_000])
def test_numbers_of_texts_do_not_run_over(many: int):
    texts = [f"{number:06d}" for number in range(many)]
    frame = join_rows([encoded(image_id=texts[::-1]), encoded(image_id=texts)], ("image_id",))
    assert frame["image_id"].tolist() == texts[::-1] + texts


def test_only_rows_with_the_texts_asked_for_are_kept():
    table = encoded(arm=["lico", "cgc", None, "lico"], metric=["a", "a", "a", "b"])
    assert keep_rows(table, {"arm": {"lico"}}).column("metric").to_pylist() == ["a", "b"]
    assert keep_rows(table, {"arm": {"lico", "cgc"}, "metric": {"a"}}).num_rows == 2
    assert keep_rows(table, {"arm": {"nobody"}}).num_rows == 0
    assert keep_rows(table, {}).num_rows == 4


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
