"""The paper's tables with the published values and those of this run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from lico_bench.report.content import ReportContent
from lico_bench.report.latex.sheet import Cell, Line, Section, Sheet
from lico_bench.report.layouts import Layout, LayoutCell, build_layouts


def layout_sheets(content: ReportContent) -> Iterator[Sheet]:
    """Yield one sheet per layout."""
    for layout in build_layouts(content):
        num_labels = _num_labels(layout)
        yield Sheet(
            name=f"layout_{layout.name}",
            run_name=content.manifest.suite.name,
            caption=f"{layout.title}: {layout.caption[:1].lower()}{layout.caption[1:]}",
            headers=tuple(header.replace(", ", "\n") for header in layout.columns),
            align="l" * num_labels + "r" * (len(layout.columns) - num_labels),
            sections=(Section("", tuple(map(_line, layout.rows))),),
            notes=layout.notes,
            num_labels=num_labels - 1,  # the source is repeated in every row
        )


def _num_labels(layout: Layout) -> int:
    return sum(cell.kind == "label" for cell in layout.rows[0])


def _line(row: Sequence[LayoutCell]) -> Line:
    """Convert a row of a layout.

    The most frequent note is attached to the last label, other notes to their cells. Adjacent
    missing values are merged into one cell.
    """
    labels = [cell for cell in row if cell.kind == "label"]
    notes = Counter(cell.note for cell in row if cell.kind == "published")
    common_note = notes.most_common(1)[0][0] if notes else ""
    cells = [Cell(cell.text) for cell in labels[:-1]]
    cells.append(Cell(labels[-1].text, note=common_note))
    for kind, group in groupby(row[len(labels) :], key=lambda cell: cell.kind):
        same_kind = list(group)
        if kind == "missing":
            cells.append(Cell(same_kind[0].text, is_faint=True, width=len(same_kind)))
        else:
            cells += [_value_cell(cell, common_note) for cell in same_kind]
    return Line(tuple(cells))


def _value_cell(cell: LayoutCell, common_note: str) -> Cell:
    text, bracket, interval = cell.text.partition(" [")
    note = cell.note if cell.kind == "published" and cell.note != common_note else ""
    return Cell(text, bracket.strip() + interval, is_bold=cell.is_significant, note=note)
