"""Names, titles and single lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lico_bench.checks import is_name, is_single_line, is_title
from lico_bench.errors import escape_controls
from lico_bench.report.formatting import escape_csv_cell


@given(text=st.text())
def test_a_name_is_a_title_and_a_title_is_plain(text):
    assert is_title(text) or not is_name(text)
    assert is_single_line(text) or not is_title(text)
    if is_name(text):
        assert escape_csv_cell(text) == text
        assert escape_controls(text) == text
