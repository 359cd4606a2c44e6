"""The light font draws what the whole one does."""

from __future__ import annotations

import io

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lico_bench.report.figures.canvas import font_families

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
