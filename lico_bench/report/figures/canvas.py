"""What every plot shares: the sheet, colours, line styles, the files it becomes.

The one file that loads matplotlib; those that draw get its types from here.

Colours are those of Okabe and Ito, told apart by colour-blind readers too; arms also differ in line
style. PDFs carry no dates, so that equal rows give equal files.
"""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lico_bench.report import wording
from lico_bench.report.content import SETTING, Block, Content

__all__ = [
    "Axes",
    "Figure",
    "Plot",
    "cells_of",
    "colour_bar",
    "colour_of",
    "drawing",
    "heat_colours",
    "loud_title",
    "of_block",
    "save_plot",
    "signed_colours",
    "style_of",
    "whole_ticks",
]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
HEAT = "inferno"
SIGNED = "RdBu_r"  # white is zero
PNG_DPI = 130

SETTINGS: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.25, "legend.frameon": False, "figure.dpi": 100,
    "pdf.fonttype": 42, "figure.constrained_layout.use": True,
}  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """One drawn figure.

    Attributes:
        name: stem of its files.
        kind: `forest`, `curves`, `sanity`, `gallery` or `training`.
        title: one line, plain text.
        caption: what is to be seen and under which rules.
    """

    name: str
    kind: str
    title: str
    caption: str
    png: bytes
    pdf: bytes


def drawing() -> AbstractContextManager[None]:
    """The block in which figures are made and saved: our settings, gone after it."""
    return mpl.rc_context(SETTINGS)


def save_plot(figure: Figure, name: str, *, kind: str, title: str, caption: str) -> Plot:
    """The figure as PNG and PDF bytes."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, not once per file
    png, pdf = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
    return Plot(name, kind, title, caption, png.getvalue(), pdf.getvalue())


def colour_of(content: Content, arm: str) -> str:
    """The colour of an arm, the same in every plot and on the page."""
    return COLOURS[content.arms.index(arm) % len(COLOURS)]


def style_of(content: Content, arm: str) -> str:
    """The line style of an arm."""
    return STYLES[content.arms.index(arm) % len(STYLES)]


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


def of_block(frame: pd.DataFrame, block: Block) -> pd.DataFrame:
    """The rows of a frame that belong to a block."""
    same = pd.Series(True, index=frame.index)
    for name in SETTING:
        same &= frame[name] == getattr(block, name)
    return frame[same]


def cells_of(content: Content, block: Block) -> dict[str, str]:
    """Arm of each cell of a block."""
    rows = of_block(content.rows, block)[["cell", "arm"]].drop_duplicates()
    return dict(zip(rows["cell"].astype(str), rows["arm"].astype(str), strict=True))
