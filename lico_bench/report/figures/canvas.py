"""What every plot shares: the sheet, colours, line styles, the files it becomes.

The one file that loads matplotlib; those that draw get its types from here.

Colours are those of Okabe and Ito, told apart by colour-blind readers too; arms also differ in line
style. PDFs carry no dates, so that equal rows give equal files.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray
from PIL import Image

from lico_bench.report import wording
from lico_bench.report.content import SETTING, Block, Content

__all__ = [
    "GREY",
    "LEAST_SPAN",
    "Axes",
    "Figure",
    "Plot",
    "cells_of",
    "colour_bar",
    "colour_of",
    "drawing",
    "heat_colours",
    "legend_of",
    "log_axis",
    "loud_title",
    "marker_of",
    "name_panel",
    "of_block",
    "panel_grid",
    "save_plot",
    "series_look",
    "short_ticks",
    "signed_colours",
    "style_of",
    "title_of",
    "whole_ticks",
    "widen",
]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#6b6b6b"
HEAT = "inferno"
SIGNED = "RdBu_r"  # white is zero
PNG_DPI = 130
LEGEND_COLUMNS, LEGEND_LINE_IN = 4, 0.2
LEGEND_MARK_IN, LEGEND_SIGN_IN = 0.42, 0.065  # a column's mark and gaps; a letter, on average
PANEL_SIGNS = 36  # of a panel's title
TITLE_IN, YLABEL_IN = 0.3, 0.16
LEAST_SPAN = 0.02  # of an upright axis: less would make a cliff of a difference that is nothing

SETTINGS: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False, "figure.dpi": 100,
    "pdf.fonttype": 42,
    "image.composite_image": False,  # pictures go into a PDF as they are, not as one of 72 dpi
}  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """One drawn figure.

    Attributes:
        name: stem of its files.
        kind: `forest`, `seeds`, `scatter`, `curves`, `sanity`, `gallery`, `training` or `history`.
        title: one line, plain text.
        caption: what is to be seen and under which rules.
    """

    name: str
    kind: str
    title: str
    caption: str
    png: bytes
    pdf: bytes


@contextmanager
def drawing() -> Iterator[None]:
    """The block in which figures are made and saved: our settings, gone after it.

    The user's own (a matplotlibrc, a style) are set aside: equal rows give equal figures.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**SETTINGS, "font.family": list(font_families())})
        yield


@lru_cache(maxsize=1)
def font_families() -> tuple[str, ...]:
    """Names of the fonts to draw with: a small one, which PDFs embed sooner, and matplotlib's own.

    The small one has the outlines of the other; `benchmarks/make_plot_fonts.py` makes it.
    """
    for path in sorted((Path(__file__).parent / "plot_fonts").glob("*.ttf")):
        font_manager.fontManager.addfont(path)
    return "Plot Sans", "DejaVu Sans"


def save_plot(figure: Figure, name: str, *, kind: str, title: str, caption: str) -> Plot:
    """The figure as PNG and PDF bytes."""
    png, pdf = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not once per file
    figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    content = png.getvalue()
    if not any(axes.get_images() for axes in figure.axes):
        content = _in_few_colours(content)
    return Plot(wording.file_part(name), kind, title, caption, content, pdf.getvalue())


def _in_few_colours(png: bytes) -> bytes:
    """Lines and letters with 256 colours: a third of the bytes, and only their edges differ."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png")
    return small.getvalue()


def colour_of(content: Content, arm: str) -> str:
    """The colour of an arm, the same in every plot and on the page."""
    return series_look(content.arms.index(arm))[0]


def style_of(content: Content, arm: str) -> str:
    """The line style of an arm."""
    return series_look(content.arms.index(arm))[1]


def marker_of(content: Content, arm: str) -> str:
    """The marker of an arm's points."""
    return series_look(content.arms.index(arm))[2]


def series_look(number: int) -> tuple[str, str, str]:
    """Colour, line style and marker of the arm at a place in the order of the arms."""
    return (
        COLOURS[number % len(COLOURS)],
        STYLES[number % len(STYLES)],
        MARKERS[(number + number // len(COLOURS)) % len(MARKERS)],
    )


def panel_grid(
    count: int, *, columns: int, panel_in: tuple[float, float], left_in: float = 0.62,
    foot_in: float = 0.4, head_in: float = 0.32, below_in: float = 0.0,
    labels: Sequence[str] = (),
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A sheet with `count` panels at fixed places, line by line.

    Places are given, not found: matplotlib's own layout measures every text several times, which
    is most of the time that a figure of many panels takes.

    Args:
        columns: at most so many panels beside each other.
        panel_in: width and height of a panel's plotting area.
        left_in, foot_in, head_in: around each panel, for its tick labels and its title.
        below_in: at the foot of the sheet, beside the legend.
        labels: of the legend at the foot of the sheet, see `legend_of`.
    """
    columns = min(columns, count)
    lines = -(-count // columns)
    wide, high = panel_in[0] + left_in, panel_in[1] + foot_in + head_in
    right_in = 0.15
    width = YLABEL_IN + wide * columns + right_in
    legend_lines = -(-len(labels) // _legend_columns(labels, width))
    legend_in = LEGEND_LINE_IN * legend_lines + 0.1 * bool(labels)
    size = (width, TITLE_IN + high * lines + below_in + legend_in)
    figure = Figure(figsize=size)
    axes = []
    for place in range(count):
        line, column = divmod(place, columns)
        left = YLABEL_IN + column * wide + left_in
        bottom = size[1] - TITLE_IN - line * high - head_in - panel_in[1]
        axes.append(
            figure.add_axes(
                (left / size[0], bottom / size[1], panel_in[0] / size[0], panel_in[1] / size[1])
            )
        )
    return figure, axes


def _legend_columns(labels: Sequence[str], width_in: float) -> int:
    """How many columns of these labels a sheet has room for."""
    longest = max(map(len, labels), default=0)
    room = int(width_in / (LEGEND_MARK_IN + LEGEND_SIGN_IN * longest))
    return max(1, min(LEGEND_COLUMNS, room))


def legend_of(figure: Figure, axes: Sequence[Axes]) -> None:
    """The labels of all panels, each once, at the foot of the sheet."""
    found: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            list(found.values()), list(found), loc="lower center", borderaxespad=0.3,
            ncols=_legend_columns(list(found), figure.get_size_inches()[0]), borderpad=0,
            labelspacing=0.25, fontsize=8, columnspacing=1.2, handletextpad=0.5,
        )  # fmt: skip


def short_ticks(axes: Axes, *, nbins: int = 4) -> None:
    """Few and small ticks on the upright axis."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins=nbins))
    axes.tick_params(labelsize=7.5)


def widen(axes: Axes, least: float) -> None:
    """Upright limits that span `least` or more, about what is drawn."""
    low, high = axes.get_ylim()
    lacking = (least - (high - low)) / 2
    if lacking > 0:
        axes.set_ylim(low - lacking, high + lacking)


def title_of(figure: Figure, title: str) -> None:
    """The title of a sheet whose places are given."""
    height = figure.get_size_inches()[1]
    figure.suptitle(title, fontsize=10, y=1 - 0.07 / height, va="top", parse_math=False)


def log_axis(axes: Axes) -> None:
    """An upright axis of magnitudes, labelled at 1, 2 and 5 of each where there is room."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=5))
    axes.yaxis.set_major_formatter(lambda size, _place: f"{size:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=7.5)


def heat_colours(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 4) colours in [0, 1] of values in [0, 1], dark to bright."""
    return np.array(mpl.colormaps[HEAT](values))


def signed_colours(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 4) colours in [0, 1] of values in [-1, 1], blue against and red for the class."""
    return np.array(mpl.colormaps[SIGNED]((values + 1) / 2))


def colour_bar(figure: Figure, grid: Any, ends: tuple[str, ...], *, is_signed: bool) -> None:
    """A small scale below the axes of `grid`, with words at even distances along it."""
    scale = ScalarMappable(Normalize(0, 1), cmap=SIGNED if is_signed else HEAT)
    bar = figure.colorbar(
        scale, ax=grid, location="bottom", shrink=0.5, fraction=0.04, aspect=40, pad=0.02
    )
    bar.set_ticks([float(place) for place in np.linspace(0, 1, len(ends))], labels=list(ends))
    bar.ax.tick_params(labelsize=7, length=0)
    bar.outline.set_visible(False)


def whole_ticks(axes: Axes) -> None:
    """Ticks at whole numbers only, for epochs."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))


def loud_title(block: Block) -> str:
    """The dataset's title, with the warning where its pictures are drawn."""
    return f"{wording.STANDIN} {block.title}" if block.is_standin else block.title


def name_panel(axes: Axes, block: Block, *, with_backbone: bool) -> None:
    """The dataset over a panel; the warning that it is drawn has a line of its own."""
    extra = f", {block.backbone}" if with_backbone else ""
    extra += "" if block.labels == "full" else f", {block.labels} labels"
    name = f"{block.title}{extra}"
    lines = [wording.STANDIN] if block.is_standin else []
    lines.append(name if len(name) <= PANEL_SIGNS else f"{name[: PANEL_SIGNS - 1]}…")
    axes.set_title("\n".join(lines), fontsize=7.5, parse_math=False, pad=3)


def of_block(frame: pd.DataFrame, block: Block) -> pd.DataFrame:
    """The rows of a frame that belong to a block."""
    same = pd.Series(True, index=frame.index)
    for name in SETTING:
        same &= frame[name] == getattr(block, name)
    return frame[same]


def cells_of(content: Content, block: Block) -> dict[str, str]:
    """Arm of each cell of a block."""
    cells = of_block(content.cells, block)
    return dict(zip(cells["cell"].astype(str), cells["arm"].astype(str), strict=True))
