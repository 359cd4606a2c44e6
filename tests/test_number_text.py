"""Signed numbers as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lico_bench.number_text import MINUS, drop_noise, signed


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (0.0125, 3, "+0.013"),
        (-0.5, 1, f"{MINUS}0.5"),
        (-0.0004, 3, "0.000"),
        (0.0, 2, "0.00"),
        (12.0, 0, "+12"),
    ],
)
def test_a_number_has_its_sign_unless_it_rounds_to_zero(number: float, digits: int, text: str):
    assert signed(number, digits) == text


@given(number=st.floats(-1e6, 1e6), digits=st.integers(0, 6))
def test_a_number_and_its_negative_differ_in_the_sign_alone(number: float, digits: int):
    assert signed(number, digits).lstrip(f"+{MINUS}") == signed(-number, digits).lstrip(f"+{MINUS}")


def test_ties_round_one_way_whatever_the_order_of_the_sum():
    sums = (0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1)
    assert sums[0] != sums[1]
    assert drop_noise(sums[0]) == drop_noise(sums[1])
