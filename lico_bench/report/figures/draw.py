"""Every figure of a report, in the order in which it is shown."""

from __future__ import annotations

from collections.abc import Iterator

from lico_bench.report.content import Content
from lico_bench.report.figures.canvas import Plot, drawing, of_block
from lico_bench.report.figures.curves import draw_curves
from lico_bench.report.figures.forest import draw_forests
from lico_bench.report.figures.gallery import draw_galleries
from lico_bench.report.figures.training import draw_training


def draw_figures(content: Content) -> Iterator[Plot]:
    """Forest plots, then curves, gallery and training of each dataset, one at a time."""
    with drawing():
        yield from draw_forests(content)
        curves = content.run.curves()
        gallery = content.run.gallery()
        history = content.run.history()
        for block in content.blocks:
            yield from draw_curves(content, block, of_block(curves, block))
            yield from draw_galleries(content, block, gallery)
            yield from draw_training(content, block, history)
