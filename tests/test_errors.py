"""Sentences of errors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lico_bench.checks import is_single_line
from lico_bench.errors import InvalidInputError


@given(text=st.text())
def test_error_says_any_text_on_one_line_without_control_signs(text):
    message = str(InvalidInputError(f"unknown '{text}'"))
    assert is_single_line(message)
    assert not is_single_line(text) or message == f"unknown '{text}'"
