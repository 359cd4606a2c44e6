"""The class-macro mean against hand-made classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from drawn_rows import pair_of, rows_of

from lico_bench.errors import InvalidInputError
from lico_bench.stats import class_macro
from lico_bench.stats.class_macro import CLASS_MACRO_COLUMNS


def with_targets(rows: pd.DataFrame, targets: list[int]) -> pd.DataFrame:
    return rows.assign(target=np.resize(targets, len(rows)))


def test_a_class_counts_once_however_many_images_it_has():
    rows = with_targets(rows_of(np.array([[1.0, 1.0, 1.0, 0.0]])), [0, 0, 0, 1])
    found = class_macro(rows).iloc[0]
    assert found["mean"] == 0.5
    assert (found.num_classes, found.num_images, found.num_skipped) == (2, 4, 0)


def test_skipped_images_and_empty_classes_are_left_out_and_counted():
    rows = with_targets(rows_of(np.array([[1.0, np.nan, 0.0, np.nan]])), [0, 0, 1, 2])
    found = class_macro(rows).iloc[0]
    assert found["mean"] == 0.5
    assert (found.num_classes, found.num_images, found.num_skipped) == (2, 2, 2)
    nothing = class_macro(rows_of(np.full((1, 2), np.nan))).iloc[0]
    assert np.isnan(nothing["mean"])
    assert nothing.num_classes == 0


def test_arms_seeds_and_metrics_stay_apart_and_a_loop_agrees():
    rng = np.random.default_rng(0)
    parts = [
        pair_of(rng.random((2, 30)), rng.random((2, 30)), metric=metric)
        for metric in ("pointing_game", "sch")
    ]
    rows = with_targets(pd.concat(parts, ignore_index=True), [0, 1, 1, 2, 2, 2])
    found = class_macro(rows)
    assert tuple(found.columns) == CLASS_MACRO_COLUMNS
    assert len(found) == 2 * 2 * 2
    for row in found.itertuples():
        same = rows[(rows.arm == row.arm) & (rows.seed == row.seed) & (rows.metric == row.metric)]
        classes = [same[same.target == t]["value"].mean() for t in sorted(set(same.target))]
        assert row.mean == pytest.approx(np.mean(classes))


def test_missing_columns_are_refused():
    with pytest.raises(InvalidInputError, match="columns missing: target"):
        class_macro(rows_of(np.ones((1, 2))).drop(columns="target"))
