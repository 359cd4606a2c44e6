"""Tables in the layout of the paper: published numbers beside those of this run."""

from __future__ import annotations

from typing import Any

from lico_bench.report.content import ReportContent
from lico_bench.report.layouts import Layout, LayoutCell, build_layouts


def paper_tables(content: ReportContent) -> list[dict[str, Any]]:
    """Return one entry per layout; notes of cells become numbered footnotes of the table."""
    return [_paper_table(number, layout) for number, layout in enumerate(build_layouts(content))]


def _paper_table(number: int, layout: Layout) -> dict[str, Any]:
    notes: dict[str, int] = {}
    rows = [[_cell(cell, notes) for cell in row] for row in layout.rows]
    return {
        "id": f"paper-{number}",
        "title": layout.title,
        "caption": layout.caption,
        "columns": layout.columns,
        "rows": rows,
        "footnotes": list(notes),
        "notes": layout.notes,
        "has_ours": any(cell.kind == "ours" for row in layout.rows for cell in row),
    }


def _cell(cell: LayoutCell, notes: dict[str, int]) -> dict[str, Any]:
    return {
        "text": cell.text,
        "kind": cell.kind,
        "is_significant": cell.is_significant,
        "note": notes.setdefault(cell.note, len(notes) + 1) if cell.note else None,
    }
