"""Tables of the papers by name, and their rows as texts."""

from __future__ import annotations

from dataclasses import replace

from lico_bench.report.paper_tables import paper_tables

ARMS_SHOWN = ("baseline", "lico", "lico_mm", "lico_ot", "lico_response")


def short(layout):
    return layout.name.removeprefix("layout_")


def rebuilt(content, *, keep="cifar10", means=None, differences=None, **changes):
    """The layouts of a run whose block `keep` alone is left, with fields or numbers changed."""
    (block,) = [one for one in content.blocks if one.dataset == keep]
    frames = {
        "means": block.means.assign(**(means or {})),
        "differences": block.differences.assign(**(differences or {})),
    }
    content = replace(content, blocks=(replace(block, **frames, **changes),))
    return {short(layout): layout for layout in paper_tables(content)}


def rows_of(layout, *labels):
    """Rows whose first labels are these, as texts."""
    texts = [[cell.text for cell in row] for row in layout.rows]
    return [row for row in texts if tuple(row[: len(labels)]) == labels]
