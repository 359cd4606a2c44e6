"""Show rows: tables for papers, plots, one page for a browser, a summary for the terminal."""

from lico_bench.report.build import ReportPaths, build_report, current_report
from lico_bench.report.content import ReportContent, gather
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
