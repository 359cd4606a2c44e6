"""A class is found by the name or number that a user gives."""

from __future__ import annotations

import pytest

from lico_bench.bench.explain_image import find_class
from lico_bench.errors import InvalidInputError, UnknownNameError


def test_a_class_is_found_by_name_or_number():
    names = ("crane", "dog", "crane", "7")
    assert find_class("Dog", names) == 1
    assert find_class("3", names) == 3
    assert find_class("7", names) == 3
    with pytest.raises(InvalidInputError, match="classes 0, 2 have this name"):
        find_class("crane", names)
    with pytest.raises(InvalidInputError, match="from 0 to 3"):
        find_class("4", names)
    with pytest.raises(UnknownNameError, match="did you mean 'dog'"):
        find_class("dogg", names)
