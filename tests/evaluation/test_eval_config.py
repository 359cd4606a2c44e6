"""Methods, metrics and models that an evaluation accepts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.evaluation import evaluate


def test_metrics_without_ground_truth_are_left_out_and_named(models, dataset):
    blind = replace(dataset, region_source=None)
    result = evaluate(models, blind, metrics=["insertion", "pointing_game"], limit=2)
    assert result.undefined == ("pointing_game",)
    assert "pointing_game" not in set(result.rows.metric)
    with pytest.raises(InvalidInputError, match="has no regions"):
        evaluate(models, blind, metrics=["pointing_game"], limit=2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"methods": ["gradcam"]}, UnknownNameError, "did you mean 'grad_cam'"),
        ({"metrics": ["insertions"]}, UnknownNameError, "did you mean 'insertion'"),
        ({"protocol": "rise"}, UnknownNameError, "unknown protocol 'rise'"),
        ({"methods": []}, InvalidInputError, "at least one method"),
        ({"limit": 0}, InvalidInputError, "limit: expected a whole number"),
    ],
)
def test_what_is_unknown_is_refused(models, dataset, change, error, message: str):
    with pytest.raises(error, match=message):
        evaluate(models, dataset, **change)


def test_no_model_is_refused(dataset):
    with pytest.raises(InvalidInputError, match="at least one model"):
        evaluate([], dataset)
