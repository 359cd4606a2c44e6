"""The HTML page of a report: one self-contained file."""

from lico_bench.report.page.render import render_page

__all__ = ["render_page"]
