"""The paper's tables with published numbers and this run's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from lico_bench.report.content import ReportContent
from lico_bench.report.latex.sheet import Cell, Line, Section, Sheet
from lico_bench.report.layouts import Layout, LayoutCell, build_layouts


def layout_sheets(content: ReportContent) -> Iterator[Sheet]:
    """One sheet per layout."""
    for layout in build_layouts(content):
        num_labels = _num_labels(layout)
        yield Sheet(
            name=f"layout_{layout.name}",
            run_name=str(content.manifest["suite"].get("name", "")),
            caption=f"{layout.title}: {layout.caption[:1].lower()}{layout.caption[1:]}",
            heads=tuple(head.replace(", ", "\n") for head in layout.columns),
            align="l" * num_labels + "r" * (len(layout.columns) - num_labels),
            sections=(Section("", tuple(map(_line, layout.rows))),),
            notes=layout.notes,
            num_labels=num_labels - 1,  # who measured is said in every row
        )


def _num_labels(layout: Layout) -> int:
    return sum(cell.kind == "label" for cell in layout.rows[0])


def _line(row: Sequence[LayoutCell]) -> Line:
    """A row; the source of its numbers is a note of its last label, other notes their cell's own.

    A gap is said once over all its columns.
    """
    labels = [cell for cell in row if cell.kind == "label"]
    notes = Counter(cell.note for cell in row if cell.kind == "published")
    common = notes.most_common(1)[0][0] if notes else ""
    cells = [Cell(cell.text) for cell in labels[:-1]]
    cells.append(Cell(labels[-1].text, note=common))
    for kind, group in groupby(row[len(labels) :], key=lambda cell: cell.kind):
        found = list(group)
        if kind == "missing":
            cells.append(Cell(found[0].text, is_faint=True, width=len(found)))
        else:
            cells += [_number(cell, common) for cell in found]
    return Line(tuple(cells))


def _number(cell: LayoutCell, common: str) -> Cell:
    text, bracket, interval = cell.text.partition(" [")
    own = cell.note if cell.kind == "published" and cell.note != common else ""
    return Cell(text, bracket.strip() + interval, is_bold=cell.is_significant, note=own)
