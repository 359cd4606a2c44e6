"""Reports of a run: LaTeX and CSV tables, figures, an HTML page and a terminal summary."""

from lico_bench.report.build import ReportPaths, build_report, current_report
from lico_bench.report.content import ReportContent
from lico_bench.report.gathering import gather
from lico_bench.report.history_page import HistoryPaths, build_history
from lico_bench.report.summary import show_summary, summary_table

__all__ = [
    "HistoryPaths",
    "ReportContent",
    "ReportPaths",
    "build_history",
    "build_report",
    "current_report",
    "gather",
    "show_summary",
    "summary_table",
]
