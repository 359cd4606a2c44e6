"""The HTML page: one file, images inlined, nothing fetched from anywhere."""

from lico_bench.report.page.render import render_page

__all__ = ["render_page"]
