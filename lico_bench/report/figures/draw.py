"""Every figure of a report, in the order in which it is shown."""

from __future__ import annotations

from collections.abc import Iterator

from lico_bench.report.content import Content
from lico_bench.report.figures.canvas import Plot, drawing, of_block
from lico_bench.report.figures.curves import draw_curves
from lico_bench.report.figures.forest import draw_forests
from lico_bench.report.figures.gallery import draw_galleries
from lico_bench.report.figures.models import draw_scatter, draw_seeds
from lico_bench.report.figures.sanity import draw_sanity
from lico_bench.report.figures.training import draw_training
from lico_bench.report.picking import first_cells
from lico_bench.stats.sanity import CASCADE


def draw_figures(content: Content) -> Iterator[Plot]:
    """What compares datasets; then curves, sanity check, gallery and training of each in turn."""
    with drawing():
        yield from draw_forests(content)
        yield from draw_seeds(content)
        yield from draw_scatter(content)
        every_curve = content.run.curves()
        is_cascade = every_curve["curve"] == CASCADE
        curves, cascades = every_curve[~is_cascade], every_curve[is_cascade]
        history = content.run.history()
        for block in content.blocks:
            yield from draw_curves(content, block, of_block(curves, block))
            yield from draw_sanity(content, block, of_block(cascades, block))
            gallery = content.run.gallery(first_cells(content, block))
            yield from draw_galleries(content, block, gallery)
            yield from draw_training(content, block, history)
