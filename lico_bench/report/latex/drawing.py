"""Which tables a report has: claims, the paper's tables, and every number by method and arm."""

from __future__ import annotations

from collections.abc import Iterator

from lico_bench.report.content import ReportContent
from lico_bench.report.latex.claim_sheet import claim_sheets
from lico_bench.report.latex.layout_sheets import layout_sheets
from lico_bench.report.latex.score_sheets import mean_sheets, pair_sheets
from lico_bench.report.latex.typesetting import LatexTable, typeset


def draw_tables(content: ReportContent) -> Iterator[LatexTable]:
    """Every table of a run; one that a page cannot hold comes in parts.

    `claims`, then `layout_*` for the paper's tables, then one per compared arm and method, the
    model's own scores first. A run of one arm gives tables of means instead.
    """
    scores = mean_sheets if len(content.arms) == 1 else pair_sheets
    for sheets in (claim_sheets, layout_sheets, scores):
        for sheet in sheets(content):
            yield from typeset(sheet)
