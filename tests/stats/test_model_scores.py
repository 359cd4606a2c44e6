"""Calibration error against a slow loop and closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lico_bench.stats import calibration_errors


def rows_of(confidence, right, cell: str = "a"):
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
    found = calibration_errors(rows_of(confidence, right))
    assert found.calibration_error[0] == pytest.approx(expected, abs=1e-12)
    assert found.num_images[0] == 500


def test_a_model_that_is_always_sure_errs_as_often_as_it_is_wrong():
    found = calibration_errors(rows_of(np.ones(100), np.arange(100) < 70))
    assert found.calibration_error[0] == pytest.approx(0.3)


def test_every_cell_is_judged_for_itself():
    both = pd.concat(
        [rows_of(np.ones(10), np.ones(10)), rows_of(np.ones(10), np.zeros(10), cell="b")]
    )
    found = calibration_errors(both).set_index("cell").calibration_error
    assert found.to_dict() == {"a": 0.0, "b": 1.0}


def test_images_without_labels_have_no_calibration_error():
    """Scores of a run are categoricals, which know no `accuracy` where there is none."""
    rows = rows_of(np.ones(10), np.ones(10))
    lone = rows[rows["metric"] == "confidence"].astype({"metric": "category"})
    lone["metric"] = lone["metric"].cat.remove_unused_categories()
    assert calibration_errors(lone).empty
