from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from drawn_rows import pair_of, rows_of
from scipy import stats

from lico_bench.errors import InvalidInputError
from lico_bench.stats import arm_means, calibration_errors, class_macro
from lico_bench.stats.means import CLASS_MACRO_COLUMNS


def test_each_arm_gets_its_own_mean():
    means = arm_means(pair_of(np.full((2, 4), 0.2), np.full((2, 4), 0.6))).set_index("arm")
    assert means.loc["baseline", "mean"] == pytest.approx(0.2)
    assert means.loc["lico", "mean"] == pytest.approx(0.6)
    assert means.loc["lico", "interval_over"] == "seeds and images"
    assert means.loc["lico", "seeds"] == [0, 1]


def test_one_seed_interval_agrees_with_students():
    values = np.random.default_rng(0).random((1, 300))
    (row,) = arm_means(rows_of(values)).to_dict("records")
    low, high = stats.t.interval(0.95, 299, values.mean(), stats.sem(values[0]))
    assert row["interval_over"] == "images"
    assert (row["low"], row["high"]) == pytest.approx((low, high), rel=0.01)


def test_skipped_and_flagged_values_are_counted():
    skipped = rows_of(np.array([[1.0, np.nan, 0.0]]), metric="pointing_game")
    flat = rows_of(np.array([[0.1, 0.2, 0.3]]), flag="degenerate_map")
    means = arm_means(pd.concat([skipped, flat])).set_index("metric")
    assert means.loc["pointing_game", ["mean", "num_images", "num_skipped"]].tolist() == [0.5, 2, 1]
    assert means.loc["insertion", ["num_skipped", "num_flagged"]].tolist() == [0, 3]


def test_metric_of_fewer_images_is_averaged_over_those():
    accuracy = rows_of(np.array([[1.0, 1.0, 0.0, 0.0]]), method="", metric="accuracy", protocol="")
    explained = rows_of(np.array([[0.2, 0.4]]))
    means = arm_means(pd.concat([accuracy, explained])).set_index("metric")
    assert means["num_images"].to_dict() == {"accuracy": 4, "insertion": 2}
    assert means["mean"].to_dict() == pytest.approx({"accuracy": 0.5, "insertion": 0.3})


def test_all_skipped_and_one_image_say_so_in_words():
    nothing = rows_of(np.full((1, 2), np.nan), metric="pointing_game")
    single = rows_of(np.array([[0.5]]))
    notes = arm_means(pd.concat([nothing, single])).set_index("metric")["note"]
    assert "every image was skipped" in notes["pointing_game"]
    assert "single image" in notes["insertion"]


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


def confidence_rows(confidence, right, cell: str = "a"):
    ids = [f"{number:04d}" for number in range(len(confidence))]
    frames = [
        pd.DataFrame({"cell": cell, "image_id": ids, "method": "", "metric": metric, "value": v})
        for metric, v in (("confidence", confidence), ("accuracy", np.asarray(right, dtype=float)))
    ]
    return pd.concat(frames, ignore_index=True)


def test_it_equals_a_loop_over_the_bins():
    rng = np.random.default_rng(0)
    confidence = rng.random(500)
    right = rng.random(500) < confidence**2
    expected = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = calibration_errors(confidence_rows(confidence, right))
    assert found.calibration_error[0] == pytest.approx(expected, abs=1e-12)
    assert found.num_images[0] == 500


def test_a_model_that_is_always_sure_errs_as_often_as_it_is_wrong():
    found = calibration_errors(confidence_rows(np.ones(100), np.arange(100) < 70))
    assert found.calibration_error[0] == pytest.approx(0.3)


def test_every_cell_is_judged_for_itself():
    both = pd.concat(
        [
            confidence_rows(np.ones(10), np.ones(10)),
            confidence_rows(np.ones(10), np.zeros(10), cell="b"),
        ]
    )
    found = calibration_errors(both).set_index("cell").calibration_error
    assert found.to_dict() == {"a": 0.0, "b": 1.0}


def test_images_without_labels_have_no_calibration_error():
    """Scores of a run are categoricals, which know no `accuracy` where there is none."""
    rows = confidence_rows(np.ones(10), np.ones(10))
    lone = rows[rows["metric"] == "confidence"].astype({"metric": "category"})
    lone["metric"] = lone["metric"].cat.remove_unused_categories()
    assert calibration_errors(lone).empty
