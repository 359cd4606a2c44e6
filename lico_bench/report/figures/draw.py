"""All figures of a report, in display order."""

from __future__ import annotations

from collections.abc import Iterator

from lico_bench.report.content import ReportContent
from lico_bench.report.figures.canvas import Plot, arm_by_cell, plot_style
from lico_bench.report.figures.curves import draw_curves, draw_sanity
from lico_bench.report.figures.forest import draw_forests
from lico_bench.report.figures.maps import draw_galleries
from lico_bench.report.figures.models import draw_scatter, draw_seeds
from lico_bench.report.figures.training import draw_training
from lico_bench.report.gallery_images import first_cells
from lico_bench.stats.sanity import CASCADE


def draw_figures(content: ReportContent) -> Iterator[Plot]:
    """Draw the plots that compare datasets, then the plots of each dataset."""
    with plot_style():
        yield from draw_forests(content)
        yield from draw_seeds(content)
        yield from draw_scatter(content)
        history = content.run.history()
        for block in content.blocks:
            # Curves are read per dataset because those of a large run take gigabytes.
            curves = content.run.curves(arm_by_cell(content, block))
            is_cascade = curves["curve"] == CASCADE
            yield from draw_curves(content, block, curves[~is_cascade])
            yield from draw_sanity(content, block, curves[is_cascade])
            gallery = content.run.gallery(first_cells(content, block))
            yield from draw_galleries(content, block, gallery)
            yield from draw_training(content, block, history)
