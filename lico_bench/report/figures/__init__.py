"""Plots as PNG and PDF; matplotlib is loaded by `canvas` alone."""

from lico_bench.report.figures.canvas import Plot, colour_of
from lico_bench.report.figures.draw import draw_figures
from lico_bench.report.figures.gallery import heat_png, pictures

__all__ = ["Plot", "colour_of", "draw_figures", "heat_png", "pictures"]
