"""Figures of the sanity check."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lico_bench.report.figures.canvas import plot_style
from lico_bench.report.figures.curves import draw_sanity
from tests.report.cascades import cascades_of


@pytest.mark.parametrize("stages", [1, 6, 8])
def test_cascades_of_any_length_become_a_figure(cascading, stages: int):
    with plot_style():
        (plot,) = draw_sanity(cascading, cascading.blocks[0], cascades_of(cascading, stages=stages))
    assert plot.name == "sanity_cub200_standin_wrn_10_2"
    assert plot.title.startswith("STAND-IN ")
    assert plot.pdf.startswith(b"%PDF-")
    with Image.open(io.BytesIO(plot.png)) as image:
        assert min(image.size) > 150
        assert np.asarray(image.convert("L")).std() > 5


def test_equal_rows_give_equal_files(cascading):
    with plot_style():
        first, again = (
            next(draw_sanity(cascading, cascading.blocks[0], cascades_of(cascading)))
            for _ in range(2)
        )
    assert first == again


def test_no_cascades_make_no_figure(cascading):
    nothing = cascades_of(cascading)[:0]
    assert not list(draw_sanity(cascading, cascading.blocks[0], nothing))
