"""Render the HTML page of a report from its sections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lico_bench.report import formatting
from lico_bench.report.content import ReportContent
from lico_bench.report.figures import Plot
from lico_bench.report.lines import BAR_WIDTH
from lico_bench.report.page.anchors import anchor_ids
from lico_bench.report.page.gallery import ImageSheet, galleries
from lico_bench.report.page.numbers import all_numbers, result_tables
from lico_bench.report.page.provenance import provenance
from lico_bench.report.page.verdicts import count_outcomes, verdict_cards
from lico_bench.report.tables import Cell, Table, paper_tables
from lico_bench.report.templating import data_uri, fill_template

TEMPLATE = "report.html.j2"


def render_page(content: ReportContent, plots: Sequence[Plot], tables: Sequence[str]) -> str:
    """Return the report as one self-contained HTML page.

    The page needs no network; only the table of all numbers needs JavaScript.

    Args:
        tables: stems of the LaTeX tables in the folder `tables` beside the page.
    """
    anchors = anchor_ids(content)
    sheet = ImageSheet()
    return fill_template(
        TEMPLATE,
        content=content,
        manifest=content.manifest,
        suite=content.manifest.suite,
        arm_titles=[content.arm_title(arm) for arm in content.arms],
        counts=_counts(content),
        outcomes=count_outcomes(content),
        claims=verdict_cards(content, anchors),
        blocks=result_tables(content, anchors),
        papers=[_paper(*numbered) for numbered in enumerate(paper_tables(content))],
        numbers=all_numbers(content, anchors),
        plots=[(plot, data_uri(plot.png)) for plot in plots if plot.kind != "gallery"],
        gallery_plots=[plot.name for plot in plots if plot.kind == "gallery"],
        galleries=galleries(content, sheet),
        images=sheet.uris,
        provenance=provenance(content, anchors),
        tables=tables,
        seeds=formatting.seeds_sentence(min(block.num_seeds for block in content.blocks)),
        family=formatting.family_sentence(content.num_compared) if content.num_compared else "",
        standin=formatting.STANDIN,
        bar_width=BAR_WIDTH,
    )


def _paper(number: int, table: Table) -> dict[str, Any]:
    """Return a table of the paper; the notes of its cells become numbered footnotes."""
    notes: dict[str, int] = {}

    def numbered(cell: Cell) -> dict[str, Any]:
        note = notes.setdefault(cell.note, len(notes) + 1) if cell.note else None
        return {**vars(cell), "note": note}

    return {
        "id": f"paper-{number}",
        "title": table.title,
        "caption": table.caption,
        "columns": [column.replace("\n", ", ") for column in table.columns],
        "rows": [[numbered(cell) for cell in row] for row in table.rows],
        "footnotes": list(notes),
        "notes": table.notes,
        "has_ours": any(cell.kind == "ours" for row in table.rows for cell in row),
    }


def _counts(content: ReportContent) -> list[str]:
    """Return the size of the run: numbers of datasets, arms, seeds, methods, models and scores."""
    standins = len({block.dataset for block in content.blocks if block.is_standin})
    datasets = formatting.plural(len({block.dataset for block in content.blocks}), "dataset")
    return [
        f"{datasets}, {standins} of them stand-ins" if standins else datasets,
        formatting.plural(len(content.arms), "arm"),
        formatting.plural(max(block.num_seeds for block in content.blocks), "seed"),
        formatting.plural(len(content.methods()), "saliency method"),
        formatting.plural(content.rows["cell"].nunique(), "trained model"),
        f"{len(content.rows):,} per-image scores",
    ]
