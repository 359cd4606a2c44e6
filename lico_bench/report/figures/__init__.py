"""Plots of a report as PNG and PDF. Only `canvas` and `fonts` import plotting libraries."""

from lico_bench.report.figures.canvas import Plot, colour_of
from lico_bench.report.figures.draw import draw_figures
from lico_bench.report.figures.history import draw_history

__all__ = ["Plot", "colour_of", "draw_figures", "draw_history"]
