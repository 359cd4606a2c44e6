"""Paths in an index stay inside the folder of the dataset."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lico_bench.data.readers import safe_join
from lico_bench.errors import BrokenFileError


@given(name=st.text(min_size=1, max_size=20))
def test_no_name_leads_out_of_its_folder(name: str) -> None:
    folder = Path("/data/images")
    try:
        path = safe_join(folder, name, "a list")
    except BrokenFileError:
        return
    assert ".." not in path.parts
    assert path.is_relative_to(folder)
    assert path != folder


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.jpg", "a/../../x", "..\\x", "C:/x", "."])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(BrokenFileError, match="leads out"):
        safe_join(Path("/data"), name, "a list")
