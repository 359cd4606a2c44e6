"""Sentences of errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lico_bench import errors
from lico_bench.checks import is_single_line
from lico_bench.errors import InvalidInputError, LicoBenchError, UnknownNameError


def is_error(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Exception) and found is not LicoBenchError


@given(text=st.text())
def test_error_says_any_text_on_one_line_without_control_signs(text):
    message = str(InvalidInputError(f"unknown '{text}'"))
    assert is_single_line(message)
    assert not is_single_line(text) or message == f"unknown '{text}'"


@pytest.mark.parametrize("kind", [c for c in vars(errors).values() if is_error(c)])
def test_every_error_is_ours_and_one_of_pythons(kind: type[Exception]):
    assert issubclass(kind, LicoBenchError)
    assert any(base.__module__ == "builtins" for base in kind.__mro__[1:-3])
    assert str(kind("what came; what to do")) == "what came; what to do"


def test_an_unknown_name_is_told_with_the_nearest_one_if_any_is_near():
    known = ("rise", "grad_cam")
    near = str(UnknownNameError.of("method", "gradcam", known))
    assert "'gradcam'" in near
    assert "'grad_cam'" in near
    far = str(UnknownNameError.of("method", "x", known))
    assert "did you mean" not in far
    assert far.endswith("grad_cam, rise")
