"""Signs that the encoding of a stream lacks."""

from __future__ import annotations


def test_signs_that_an_encoding_lacks_have_plain_ones():
    from lico_bench.cli.console import ERROR_HANDLER, make_streams_safe

    make_streams_safe()
    message = "−1 → 2 ≤ é α …\udcff".encode("ascii", ERROR_HANDLER)
    assert message == b"-1 -> 2 <= e alpha ...?"
    assert "−1".encode("cp1252", ERROR_HANDLER) == b"-1"
