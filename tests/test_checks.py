"""Checks of tensors, numbers, names and titles."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lico_bench.checks import (
    check_count,
    check_images,
    check_not_negative,
    check_positive,
    check_targets,
    find_duplicate,
    is_name,
    is_single_line,
    is_title,
)
from lico_bench.errors import InvalidInputError, escape_controls
from lico_bench.report.formatting import escape_csv_cell


@given(text=st.text())
def test_a_name_is_a_title_and_a_title_is_plain(text):
    assert is_title(text) or not is_name(text)
    assert is_single_line(text) or not is_title(text)
    if is_name(text):
        assert escape_csv_cell(text) == text
        assert escape_controls(text) == text


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (torch.rand(3, 8, 8), r"images\[None\]"),
        (torch.rand(2, 8, 8, 3), "permute"),
        (torch.zeros(0, 3, 8, 8), "at least one"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "divide bytes by 255"),
        (torch.full((2, 3, 8, 8), torch.nan), "NaN"),
        (torch.rand(2, 3, 8, 8) * 2, "without normalisation"),
    ],
)
def test_images_of_another_form_are_refused_with_the_remedy(images: torch.Tensor, remedy: str):
    with pytest.raises(InvalidInputError, match=remedy):
        check_images(images)


def test_images_that_resampling_made_overshoot_are_images():
    check_images(torch.tensor([-5e-5, 1 + 5e-5]).repeat(24).view(1, 3, 4, 4))


@pytest.mark.parametrize(
    "targets", [[0], [0, 3], [-1, 0], [0.0, 1.0]], ids=["one", "high", "low", "float"]
)
def test_targets_that_are_no_classes_of_the_images_are_refused(targets: list[float]):
    check_targets(torch.tensor([0, 2]), num_images=2, num_classes=3)
    with pytest.raises(InvalidInputError, match="targets: expected"):
        check_targets(torch.tensor(targets), num_images=2, num_classes=3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_numbers_that_are_not_finite_or_below_zero_are_refused(value: float):
    check_not_negative("alpha", 0.0)
    for check in (check_positive, check_not_negative):
        with pytest.raises(InvalidInputError, match="alpha"):
            check("alpha", value)
    with pytest.raises(InvalidInputError, match="alpha"):
        check_positive("alpha", 0.0)


@pytest.mark.parametrize("value", [True, 1.0, "2", 0])
def test_a_count_is_a_whole_number_and_no_truth_value(value: object):
    check_count("seeds", 1)
    with pytest.raises(InvalidInputError, match="seeds"):
        check_count("seeds", value)  # type: ignore[arg-type]


def test_the_first_name_that_was_there_before_is_the_duplicate():
    assert find_duplicate(["a", "b", "c"]) is None
    assert find_duplicate(["a", "b", "B", "a"]) == "a"
    assert find_duplicate(["a", "b", "B", "a"], key=str.lower) == "B"
