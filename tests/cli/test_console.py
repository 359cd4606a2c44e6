"""What a console prints: durations, lines as they are, signs that an encoding lacks."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from lico_bench.cli.console import format_seconds, say, working


def test_signs_that_an_encoding_lacks_have_plain_ones():
    from lico_bench.cli.console import ERROR_HANDLER, make_streams_safe

    make_streams_safe()
    message = "−1 → 2 ≤ é α …\udcff".encode("ascii", ERROR_HANDLER)
    assert message == b"-1 -> 2 <= e alpha ...?"
    assert "−1".encode("cp1252", ERROR_HANDLER) == b"-1"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (100, "2 min"), (7800, "2 h 10 min")]
)
def test_a_duration_has_the_unit_that_reads_best(seconds: float, text: str):
    assert format_seconds(seconds) == text


def test_lines_are_printed_as_they_are_however_narrow_the_terminal():
    stream = StringIO()
    line = "net.py:one [bold]no markup[/bold] " + "long " * 30
    say(Console(file=stream, width=20, emoji=False), line)
    assert stream.getvalue() == f"{line}\n"


def test_a_task_is_one_line_where_there_is_no_terminal():
    stream = StringIO()
    with working(Console(file=stream), "Comparing"):
        pass
    assert stream.getvalue() == "Comparing\n"
