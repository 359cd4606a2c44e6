"""Shared parts of all plots: figure layout, colours, line styles and saving.

Only this module imports matplotlib; the other modules import its types from here.

The colours are the colour-blind safe palette of Okabe and Ito; arms also differ in line style.
PDFs contain no dates, so equal rows give equal files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes as Axes  # imported from here by the other modules
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray
from PIL import Image

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent, rows_of

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#6b6b6b"
HEAT_COLORMAP = "inferno"
SIGNED_COLORMAP = "RdBu_r"  # white is zero
PNG_DPI = 130
LEGEND_COLUMNS, LEGEND_LINE_IN = 4, 0.2
LEGEND_HANDLE_IN, LEGEND_CHAR_IN = 0.42, 0.065  # with the column's gaps; on average
PANEL_TITLE_CHARS = 36
TITLE_IN, YLABEL_IN = 0.3, 0.16
MIN_Y_SPAN = 0.02  # a shorter y axis would exaggerate negligible differences

RC_PARAMS: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False, "figure.dpi": 100,
    "pdf.fonttype": 42,
    "image.composite_image": False,  # embed images in a PDF as they are, not resampled to 72 dpi
}  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """One drawn figure.

    Attributes:
        name: stem of the file names.
        kind: `forest`, `seeds`, `scatter`, `curves`, `sanity`, `gallery`, `training` or `history`.
        title: one line of plain text.
        caption: description of the plot and of the rules by which it is drawn.
    """

    name: str
    kind: str
    title: str
    caption: str
    png: bytes
    pdf: bytes


@contextmanager
def plot_style() -> Iterator[None]:
    """Context manager that applies the style of the plots and restores the previous settings.

    The user's matplotlibrc and styles are ignored, so that equal rows give equal figures.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**RC_PARAMS, "font.family": list(font_families())})
        yield


@lru_cache(maxsize=1)
def font_families() -> tuple[str, ...]:
    """Names of the plot fonts in order of preference: a subset, and matplotlib's own.

    PDFs embed the subset faster; `benchmarks/make_plot_fonts.py` makes it.
    """
    for path in sorted((Path(__file__).parent / "plot_fonts").glob("*.ttf")):
        font_manager.fontManager.addfont(path)
    return "Plot Sans", "DejaVu Sans"


def save_plot(figure: Figure, name: str, *, kind: str, title: str, caption: str) -> Plot:
    """Save a figure as PNG and PDF bytes."""
    png, pdf = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # compute the layout once, not once per file
    figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    content = png.getvalue()
    if not any(axes.get_images() for axes in figure.axes):
        content = _quantized_png(content)
    return Plot(formatting.file_part(name), kind, title, caption, content, pdf.getvalue())


def _quantized_png(png: bytes) -> bytes:
    """Reduce a PNG of lines and text to 256 colours, a third of the bytes; only edges differ."""
    quantized = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(quantized, "png")
    return quantized.getvalue()


class SeriesStyle(NamedTuple):
    """Colour, line style and marker of a series."""

    colour: str
    line: str
    marker: str


def style_of(content: ReportContent, arm: str) -> SeriesStyle:
    """Style of an arm, the same in every plot; its colour is also that of the HTML page."""
    return series_style(content.arms.index(arm))


def series_style(number: int) -> SeriesStyle:
    """Style of the arm with index `number`."""
    return SeriesStyle(
        COLOURS[number % len(COLOURS)],
        STYLES[number % len(STYLES)],
        MARKERS[(number + number // len(COLOURS)) % len(MARKERS)],
    )


def panel_grid(
    count: int, *, columns: int, panel_in: tuple[float, float], left_in: float = 0.62,
    bottom_in: float = 0.4, top_in: float = 0.32, footer_in: float = 0.0,
    labels: Sequence[str] = (),
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """Return a figure with `count` panels at fixed positions, in row-major order.

    Positions are computed here because matplotlib's layout engines measure every text several
    times, which dominates the time of a figure with many panels.

    Args:
        columns: maximum number of panels per row.
        panel_in: width and height of a panel's plotting area in inches.
        left_in, bottom_in, top_in: margins of each panel for tick labels and title, in inches.
        footer_in: extra space at the bottom of the figure, in inches.
        labels: labels of the legend at the bottom of the figure, see `add_figure_legend`.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    cell_width, cell_height = panel_in[0] + left_in, panel_in[1] + bottom_in + top_in
    right_in = 0.15
    width = YLABEL_IN + cell_width * columns + right_in
    legend_lines = -(-len(labels) // _legend_columns(labels, width))
    legend_in = LEGEND_LINE_IN * legend_lines + 0.1 * bool(labels)
    size = (width, TITLE_IN + cell_height * rows + footer_in + legend_in)
    figure = Figure(figsize=size)
    axes = []
    for index in range(count):
        row, column = divmod(index, columns)
        left = YLABEL_IN + column * cell_width + left_in
        bottom = size[1] - TITLE_IN - row * cell_height - top_in - panel_in[1]
        axes.append(
            figure.add_axes(
                (left / size[0], bottom / size[1], panel_in[0] / size[0], panel_in[1] / size[1])
            )
        )
    return figure, axes


def _legend_columns(labels: Sequence[str], width_in: float) -> int:
    """Number of legend columns that fit into the width of the figure."""
    longest = max(map(len, labels), default=0)
    num_fitting = int(width_in / (LEGEND_HANDLE_IN + LEGEND_CHAR_IN * longest))
    return max(1, min(LEGEND_COLUMNS, num_fitting))


def add_figure_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Add a legend with the labels of all panels, each once, at the bottom of the figure."""
    handles: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        figure.legend(
            list(handles.values()), list(handles), loc="lower center", borderaxespad=0.3,
            ncols=_legend_columns(list(handles), figure.get_size_inches()[0]), borderpad=0,
            labelspacing=0.25, fontsize=8, columnspacing=1.2, handletextpad=0.5,
        )  # fmt: skip


def save_panels(
    figure: Figure, axes: Sequence[Axes], name: str, *, kind: str, title: str, caption: str
) -> Plot:
    """Save a figure of panels with its legend and title, see `save_plot`."""
    add_figure_legend(figure, axes)
    set_figure_title(figure, title)
    return save_plot(figure, name, kind=kind, title=title, caption=caption)


def set_log_x_axis(axes: Axes) -> None:
    """Use a logarithmic x axis with ticks at 1, 2 and 5 times powers of ten, as plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")


def set_few_y_ticks(axes: Axes, *, nbins: int = 4) -> None:
    """Limit the number of y ticks and reduce the tick labels."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins=nbins))
    axes.tick_params(labelsize=7.5)


def ensure_y_span(axes: Axes, scale: float) -> None:
    """Extend the y limits symmetrically to span at least `MIN_Y_SPAN` times `scale`."""
    low, high = axes.get_ylim()
    padding = (MIN_Y_SPAN * scale - (high - low)) / 2
    if padding > 0:
        axes.set_ylim(low - padding, high + padding)


def set_figure_title(figure: Figure, title: str) -> None:
    """Set the title of a figure with a fixed layout."""
    height = figure.get_size_inches()[1]
    figure.suptitle(title, fontsize=10, y=1 - 0.07 / height, va="top", parse_math=False)


def set_log_y_axis(axes: Axes) -> None:
    """Make the y axis logarithmic, with ticks at 1, 2 and 5 times the powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=5))
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=7.5)


def heat_colours(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map values in [0, 1] to (..., 4) RGBA colours in [0, 1], dark to bright."""
    return np.array(mpl.colormaps[HEAT_COLORMAP](values))


def signed_colours(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map values in [-1, 1] to (..., 4) RGBA colours in [0, 1]; blue is negative, red positive."""
    return np.array(mpl.colormaps[SIGNED_COLORMAP]((values + 1) / 2))


def add_colour_bar(figure: Figure, grid: Any, labels: tuple[str, ...], *, is_signed: bool) -> None:
    """Add a small colour bar below the axes of `grid`, with evenly spaced text labels."""
    mappable = ScalarMappable(Normalize(0, 1), cmap=SIGNED_COLORMAP if is_signed else HEAT_COLORMAP)
    bar = figure.colorbar(
        mappable, ax=grid, location="bottom", shrink=0.5, fraction=0.04, aspect=40, pad=0.02
    )
    bar.set_ticks(np.linspace(0, 1, len(labels)).tolist(), labels=list(labels))
    bar.ax.tick_params(labelsize=7, length=0)
    bar.outline.set_visible(False)


def set_integer_x_ticks(axes: Axes) -> None:
    """Restrict the x ticks to integers, for epochs."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))


def block_title(block: Block) -> str:
    """Title of a block's dataset, with the warning if it is a stand-in."""
    return f"{formatting.STANDIN} {block.title}" if block.is_standin else block.title


def set_panel_title(axes: Axes, block: Block, *, with_backbone: bool) -> None:
    """Set a panel's title to its dataset; a stand-in warning gets a separate line."""
    extra = f", {block.backbone}" if with_backbone else ""
    name = f"{block.title}{extra}{block.budget}"
    standin = f"{formatting.STANDIN}\n" if block.is_standin else ""
    title = standin + formatting.truncated(name, PANEL_TITLE_CHARS)
    axes.set_title(title, fontsize=7.5, parse_math=False, pad=3)


def axis_scale(spec: MetricSpec) -> tuple[float, str]:
    """Factor and unit of a metric's axis; shares are drawn in percent."""
    return (100.0, "%") if formatting.is_percent(spec) else (1.0, spec.unit)


def present(names: Sequence[str], column: pd.Series[Any]) -> list[str]:
    """Select the names that occur in a column, in their order."""
    found = set(column.unique())
    return [name for name in names if name in found]


def arm_by_cell(content: ReportContent, block: Block) -> dict[str, str]:
    """Return the arm of each cell of a block."""
    cells = rows_of(content.cells, block.setting)
    return dict(zip(cells["cell"].astype(str), cells["arm"].astype(str), strict=True))
