"""All LaTeX tables of a report."""

from __future__ import annotations

from collections.abc import Iterator

from lico_bench.report.content import ReportContent
from lico_bench.report.latex.claim_sheet import claim_sheets
from lico_bench.report.latex.layout_sheets import layout_sheets
from lico_bench.report.latex.score_sheets import mean_sheets, pair_sheets
from lico_bench.report.latex.typesetting import LatexTable, typeset


def draw_tables(content: ReportContent) -> Iterator[LatexTable]:
    """Yield every table of a run, split into parts where it exceeds a page.

    The order is `claims`, `layout_*` (the paper's tables), then one table per method and compared
    arm, starting with the scores of the model itself. A run of one arm has tables of means instead.
    """
    scores = mean_sheets if len(content.arms) == 1 else pair_sheets
    for sheets in (claim_sheets, layout_sheets, scores):
        for sheet in sheets(content):
            yield from typeset(sheet)
