from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from drawn_rows import pair_of, rows_of

from lico_bench.errors import InvalidInputError, NotComparableError
from lico_bench.stats import as_frame, build_grids


def test_every_value_lands_at_its_place_whatever_the_order_of_rows():
    values = np.random.default_rng(0).random((2, 5))
    rows = pair_of(values, values + 1).sample(frac=1, random_state=0)
    (grid,) = build_grids(rows)
    order = np.argsort(grid.image_ids)
    first = grid.arms.index("baseline")
    np.testing.assert_array_equal(grid.values[first, :, order, 0].T, values)
    np.testing.assert_array_equal(grid.values[1 - first, :, order, 0].T, values + 1)
    assert grid.seeds == (0, 1)


def test_datasets_are_kept_apart():
    values = np.zeros((1, 3))
    both = pd.concat([rows_of(values), rows_of(values, dataset="svhn")])
    assert [grid.setting["dataset"] for grid in build_grids(both)] == ["cifar10", "svhn"]


def test_categorical_columns_read_like_text():
    rows = pair_of(np.zeros((2, 3)), np.ones((2, 3)))
    for name in ("pair", "arm", "image_id", "metric", "flag"):
        rows[name] = rows[name].astype("category")
    (grid,) = build_grids(rows)
    assert grid.arms == ("baseline", "lico")
    assert grid.present.all()


def test_duplicate_row_is_named():
    rows = rows_of(np.zeros((1, 3)))
    with pytest.raises(InvalidInputError, match=r"one row per score, got 2.*test/00001"):
        list(build_grids(pd.concat([rows, rows.iloc[[1]]])))


def test_two_protocols_under_one_metric_are_refused():
    values = np.zeros((1, 3))
    both = pd.concat([rows_of(values), rows_of(values, protocol="other@0")])
    with pytest.raises(NotComparableError, match="two protocols"):
        list(build_grids(both))


def test_two_recipes_with_the_same_seed_are_refused():
    values = np.zeros((1, 3))
    other = rows_of(values, arm="lico").assign(pair="another")
    with pytest.raises(NotComparableError, match="one pair per seed"):
        list(build_grids(pd.concat([rows_of(values), other])))


def test_nan_without_a_flag_is_an_error_and_with_one_is_not():
    rows = rows_of(np.array([[0.1, np.nan]]))
    assert as_frame(rows) is rows
    with pytest.raises(InvalidInputError, match="1 rows without a flag"):
        as_frame(rows.assign(flag=""))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value": ["0.1", "0.2"]}, r"'value': expected numbers, got .*first: '0.1'"),
        ({"correct": ["True", "False"]}, "'correct': expected True or False"),
        ({"seed": ["0", "0"]}, "'seed': expected whole numbers"),
        ({"target": [0.0, np.nan]}, "'target': expected whole numbers"),
        ({"protocol": ["p@1", None]}, "'protocol': expected an entry in every row, got none in 1"),
        ({"image_id": [None, None]}, "'image_id': expected an entry"),
        ({"flag": ["", None], "value": [0.1, np.nan]}, "'flag': expected an entry"),
    ],
)
def test_rows_of_another_version_are_refused(changes, words):
    with pytest.raises(InvalidInputError, match=words):
        as_frame(rows_of(np.zeros((1, 2))).assign(**changes))


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ("rows.parquet", "expected a DataFrame"),
        (pd.DataFrame({"value": [1.0]}), "columns missing: pair"),
        (rows_of(np.zeros((1, 1))).iloc[:0], "at least one row"),
    ],
)
def test_what_is_no_rows_is_refused(scores, words):
    with pytest.raises(InvalidInputError, match=words):
        as_frame(scores)
