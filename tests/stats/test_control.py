from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from drawn_rows import pair_of, rows_of

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.stats import as_frame, minus_control, paired_differences


def drawn(shape=(2, 6)):
    """Return rows of two methods, a control and the model, and the values of (method, arm)."""
    generator = np.random.default_rng(0)
    values = {
        method: generator.random((2, *shape)) for method in ("grad_cam", "rise", "random_map", "")
    }
    frames = [
        pair_of(*both, method=method, metric="insertion" if method else "accuracy")
        for method, both in values.items()
    ]
    return pd.concat(frames, ignore_index=True), values


def test_each_value_loses_the_controls_on_the_same_image_in_any_order_of_rows():
    rows, values = drawn()
    found = minus_control(rows.sample(frac=1, random_state=0), "random_map")
    assert set(found["method"]) == {"grad_cam", "rise"}
    assert len(found) == 2 * 2 * 2 * 6
    for row in found.itertuples():
        place = (int(row.arm == "lico"), row.seed, int(row.image_id[-1]))
        expected = values[row.method][place] - values["random_map"][place]
        assert row.value == pytest.approx(expected, abs=1e-15)


def test_paired_differences_of_it_are_differences_of_differences():
    rows, values = drawn()
    found = paired_differences(minus_control(rows, "random_map")).set_index("method")
    for method in ("grad_cam", "rise"):
        gain = values[method] - values["random_map"]
        assert found.loc[method, "difference"] == pytest.approx((gain[1] - gain[0]).mean())


def test_what_either_side_lacks_is_missing_with_a_flag():
    method = rows_of(np.array([[0.5, np.nan, 0.7, 0.8]]))
    control = rows_of(np.array([[0.1, 0.2, np.nan, 0.4]]), method="random_map").iloc[:3]
    found = minus_control(pd.concat([method, control]), "random_map")
    np.testing.assert_allclose(found["value"], [0.4, np.nan, np.nan, np.nan])
    assert found["flag"].tolist() == ["", "skipped_region", "no_control", "no_control"]
    assert as_frame(found) is found


def test_a_warning_about_a_value_stays_with_it():
    both = [rows_of(np.ones((1, 2)), flag="degenerate_map"), rows_of(np.ones((1, 2)), method="c")]
    assert minus_control(pd.concat(both), "c")["flag"].tolist() == ["degenerate_map"] * 2


def test_datasets_and_protocols_do_not_lend_each_other_controls():
    rows = [
        rows_of(np.ones((1, 2))),
        rows_of(np.ones((1, 2)), method="c", dataset="svhn"),
        rows_of(np.ones((1, 2)), method="c", protocol="other@0"),
    ]
    assert minus_control(pd.concat(rows), "c")["flag"].tolist() == ["no_control"] * 2


def test_categorical_columns_are_read_like_text():
    rows, _ = drawn()
    plain = minus_control(rows, "random_map")
    for name in ("pair", "arm", "image_id", "method", "metric", "flag"):
        rows[name] = rows[name].astype("category")
    np.testing.assert_array_equal(minus_control(rows, "random_map")["value"], plain["value"])


def test_unknown_control_and_duplicates_of_it_are_refused():
    rows, _ = drawn()
    with pytest.raises(UnknownNameError, match="did you mean 'random_map'"):
        minus_control(rows, "random_maps")
    twice = pd.concat([rows, rows[rows["method"] == "random_map"].iloc[:1]])
    with pytest.raises(InvalidInputError, match="one row per score, got 2"):
        minus_control(twice, "random_map")
