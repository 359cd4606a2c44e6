"""Style, fonts and files of all figures."""

from __future__ import annotations

import io

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lico_bench.report.build import draw_figures
from lico_bench.report.figures.canvas import COLOURS, font_families


@pytest.mark.slow
def test_figures_are_the_same_whatever_the_user_has_set(content):
    theirs = {
        "font.family": ["nonexistent"], "savefig.dpi": 5, "axes.unicode_minus": False,
        "figure.autolayout": True, "savefig.bbox": "tight", "pdf.fonttype": 3, "lines.linewidth": 9,
        "text.usetex": True, "backend": "TkAgg", "axes.prop_cycle": mpl.cycler(color=["red"]),
    }  # fmt: skip
    plain = next(iter(draw_figures(content)))
    with mpl.rc_context(theirs):
        other = next(iter(draw_figures(content)))
    assert (other.name, other.png, other.pdf) == (plain.name, plain.png, plain.pdf)


def test_lines_come_in_few_colours_that_are_theirs_and_images_in_all(report):
    modes = {}
    for path in (path for path in report.figures if path.suffix == ".png"):
        with Image.open(path) as image:
            modes.setdefault(path.stem.split("_")[0], set()).add(image.mode)
            if image.mode == "P":
                shown = {colour for _, colour in image.convert("RGB").getcolors()}
                assert (255, 255, 255) in shown
                assert shown & {tuple(bytes.fromhex(one[1:])) for one in COLOURS}
    assert modes["gallery"] == {"RGBA"}
    assert modes["forest"] == modes["training"] == {"P"}


def test_equal_rows_give_equal_files_without_dates(content, report):
    again = next(draw_figures(content))
    files = {path.name: path for path in report.figures}
    assert again.png == files[f"{again.name}.png"].read_bytes()
    assert again.pdf == files[f"{again.name}.pdf"].read_bytes()
    assert b"CreationDate" not in again.pdf


SUBSET_FONT, FULL_FONT = "Plot Sans", "DejaVu Sans"


def drawn(families: list[str], text: str, kind: str) -> bytes:
    with mpl.rc_context({"font.family": families, "pdf.fonttype": 42}):
        figure, stream = Figure(figsize=(3, 1)), io.BytesIO()
        FigureCanvasAgg(figure)
        figure.text(0.05, 0.6, text)
        figure.text(0.05, 0.2, text, fontweight="bold")
        figure.savefig(stream, format=kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    "text", ["AVATAR – efficient, ±0.5 τ ≤ 3", "Größe: 95 % [−0.01, +0.02]", "猫 ж"]
)
@pytest.mark.filterwarnings("ignore:Glyph")  # no font here has the cat
def test_plots_look_the_same(text):
    assert font_families() == (SUBSET_FONT, FULL_FONT)
    assert drawn([SUBSET_FONT, FULL_FONT], text, "png") == drawn([FULL_FONT], text, "png")


def test_files_hold_the_light_font_and_the_whole_one_only_for_other_signs():
    font_families()
    assert b"PlotSans" in drawn([SUBSET_FONT, FULL_FONT], "plain", "pdf")
    assert b"DejaVuSans" not in drawn([SUBSET_FONT, FULL_FONT], "plain", "pdf")
    assert b"DejaVuSans" in drawn([SUBSET_FONT, FULL_FONT], "plain ж", "pdf")
