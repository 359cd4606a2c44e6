"""Show rows: tables for papers, plots, one page for a browser, a summary for the terminal."""

from lico_bench.report.build import ReportPaths, build_report, current_report
from lico_bench.report.summary import summary_table

__all__ = ["ReportPaths", "build_report", "current_report", "summary_table"]
