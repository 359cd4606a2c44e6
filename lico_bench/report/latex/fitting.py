"""Font size and page breaks of a table.

Widths and heights are estimated from the text, so that every table fits the pages of the document
written with the report; a paper with narrower pages may need a smaller font.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from lico_bench.report.latex.sheet import Cell, Line, Section, Sheet

# A4 with margins of 20 mm, in points; the page number is below the text area.
TEXT_WIDTH, TEXT_HEIGHT = 483.0, 705.0
MIN_WIDTH = 50.0  # of a column of running text
HEADER_CHARS = 15  # per line of a header
CAPTION_HEIGHT, NOTE_HEIGHT, NOTE_CHARS = 70.0, 9.6, 112


class Font(NamedTuple):
    """A font size.

    Attributes:
        command: LaTeX command.
        em: an em of Computer Modern, in points.
        line: height of a line, in points.
        gap: space between columns, in points.
    """

    command: str
    em: float
    line: float
    gap: float


FONTS = (
    Font("small", 9.25, 11.0, 12.0),
    Font("footnotesize", 8.5, 9.5, 10.0),
    Font("scriptsize", 7.97, 8.0, 7.0),
)
# Character widths in em, from the metrics of Computer Modern Roman at 10 pt.
CHAR_WIDTHS = MappingProxyType(
    {
        **dict.fromkeys("ijlI.,:;'![]|/", 0.3), **dict.fromkeys(" -f_", 0.34),
        **dict.fromkeys("rst()", 0.4), **dict.fromkeys("cez", 0.45),
        **dict.fromkeys("0123456789agoJ?*↑↓–", 0.5), **dict.fromkeys("bdhknpquvxyS", 0.56),
        **dict.fromkeys("mMW—", 0.95),
    }
)  # fmt: skip
DEFAULT_CHAR_WIDTH = 0.78  # capitals and mathematical signs
BOLD_FACTOR, NOTE_MARK_EM, INDENT_EM = 1.16, 0.4, 1.0


@dataclass(frozen=True)
class Column:
    """A column with `align` l, c or r; `width` is in points, None for the natural width."""

    align: str
    width: float | None = None


@dataclass(frozen=True)
class Fit:
    """The index of the font in `FONTS`, and the columns."""

    font: int
    columns: tuple[Column, ...]


def fit(sheet: Sheet) -> Fit:
    """Choose the largest font in which the columns fit; running text uses the full width."""
    available = [TEXT_WIDTH - font.gap * (len(sheet.headers) - 1) for font in FONTS]
    if sheet.shares:
        return Fit(1, tuple(Column("l", share * available[1]) for share in sheet.shares))
    widths = _widths(sheet)
    columns = tuple(map(Column, sheet.align))
    for number, font in enumerate(FONTS):
        if sum(widths) * font.em <= available[number]:
            return Fit(number, columns)
    # No font fits: wrap the widest column.
    widest = widths.index(max(widths))
    rest = FONTS[-1].em * (sum(widths) - widths[widest])
    column = Column("l", max(available[-1] - rest, MIN_WIDTH))
    return Fit(len(FONTS) - 1, (*columns[:widest], column, *columns[widest + 1 :]))


def paginate(sheet: Sheet, layout: Fit) -> Iterator[tuple[Section, ...]]:
    """Split the sections into pages; a continued section says so in its title.

    Lines with the same labels stay together if they fit on a page. A note or title is counted once
    per page.
    """
    page_height = TEXT_HEIGHT - CAPTION_HEIGHT - sum(map(_note_height, sheet.notes))
    page: list[tuple[Section, Line]] = []
    free, shown_notes = page_height, set[str]()
    for section, lines in _blocks(sheet, layout, page_height):
        needed = _block_height(section, lines, layout, page, shown_notes)
        if page and needed > free:
            yield tuple(_sections_of(page))
            page, free, shown_notes = [], page_height, set()
            needed = _block_height(section, lines, layout, page, shown_notes)
        free -= needed
        shown_notes |= _note_heights(section, lines).keys()
        page += [(section, line) for line in lines]
    if page:
        yield tuple(_sections_of(page))


def table_notes(sheet: Sheet, sections: Sequence[Section]) -> list[str]:
    """Return the notes below a part with these sections, each once."""
    notes = [note for section in sections for note in section.notes]
    lines = [line for section in sections for line in section.lines]
    protocols = dict.fromkeys(line.protocol for line in lines if line.protocol)
    if protocols:
        notes.append(f"Protocols: {'; '.join(protocols)}.")
    units: dict[str, dict[str, None]] = {}
    for line in lines:
        if line.unit:
            units.setdefault(line.unit, {})[line.cells[0].text] = None
    if units:
        groups = (f"{', '.join(names)}: {unit}" for unit, names in units.items())
        notes.append(f"Units: {'; '.join(groups)}.")
    return list(dict.fromkeys([*notes, *sheet.notes]))


def cells_by_column(line: Line) -> Iterator[tuple[int, Cell]]:
    """Yield each cell of a line with the index of its first column."""
    column = 0
    for cell in line.cells:
        yield column, cell
        column += cell.width


def wrap_header(header: str) -> list[str]:
    """Wrap a column header into short lines."""
    rows = [row for part in header.split("\n") for row in textwrap.wrap(part, HEADER_CHARS)]
    return rows or [""]


def _width_em(text: str) -> float:
    """Approximate width of a text in em."""
    return sum(CHAR_WIDTHS.get(char, DEFAULT_CHAR_WIDTH) for char in text)


def _widths(sheet: Sheet) -> list[float]:
    """Width of each column in em; cells that span several columns are ignored."""
    widths = [max(map(_width_em, wrap_header(header))) for header in sheet.headers]
    for section in sheet.sections:
        for line in section.lines:
            for column, cell in cells_by_column(line):
                if cell.width == 1:
                    width = _width_em(cell.text) * (BOLD_FACTOR if cell.is_bold else 1)
                    width += NOTE_MARK_EM * bool(cell.note)
                    width += INDENT_EM * bool(section.title and column == 0)
                    widths[column] = max(widths[column], width, _width_em(cell.second_line))
    return widths


def _line_height(line: Line, layout: Fit) -> float:
    font, rows = FONTS[layout.font], 1
    for column, cell in cells_by_column(line):
        width = layout.columns[column].width if cell.width == 1 else None
        wrapped = math.ceil(1.06 * _width_em(cell.text) * font.em / width) if width else 1
        rows = max(rows, wrapped + bool(cell.second_line))
    return 1.02 * rows * font.line


def _note_height(note: str) -> float:
    return NOTE_HEIGHT * math.ceil(len(note) / NOTE_CHARS)


def _blocks(sheet: Sheet, layout: Fit, page_height: float) -> Iterator[tuple[Section, list[Line]]]:
    """Yield lines to keep together: those with the same labels, if they fit on a page."""
    for section in sheet.sections:
        for _, group in groupby(section.lines, key=lambda line: _labels(sheet, line)):
            lines = list(group)
            if sheet.num_labels and _block_height(section, lines, layout, (), set()) <= page_height:
                yield section, lines
            else:
                yield from ((section, [line]) for line in lines)


def _labels(sheet: Sheet, line: Line) -> tuple[str, ...]:
    return tuple(cell.text for cell in line.cells[: sheet.num_labels])


def _note_heights(section: Section, lines: Sequence[Line]) -> dict[str, float]:
    """Heights of the notes that these lines need below the table."""
    marked = (cell.note for line in lines for cell in line.cells if cell.note)
    heights = {note: _note_height(note) for note in (*section.notes, *marked)}
    # All protocols share one note, and so do all units.
    names = [line.protocol for line in lines]
    names += [f"{line.cells[0].text} {line.unit}" for line in lines if line.unit]
    return heights | {name: NOTE_HEIGHT * len(name) / NOTE_CHARS for name in names}


def _block_height(
    section: Section, lines: Sequence[Line], layout: Fit, page: Sequence[tuple[Section, Line]],
    shown_notes: set[str],
) -> float:  # fmt: skip
    """Height that a block adds to a page: lines, space above, and title and notes if new there."""
    is_new = bool(section.title) and (not page or page[-1][0] is not section)
    height = FONTS[layout.font].line * (0.5 * (len(lines) > 1) + 1.5 * is_new)
    height += sum(_line_height(line, layout) for line in lines)
    notes = _note_heights(section, lines)
    return height + sum(notes[note] for note in notes.keys() - shown_notes)


def _sections_of(page: Sequence[tuple[Section, Line]]) -> Iterator[Section]:
    """Yield the sections of a page, each with its lines on that page."""
    for _, group in groupby(page, key=lambda pair: id(pair[0])):
        pairs = list(group)
        section, lines = pairs[0][0], tuple(line for _, line in pairs)
        is_continued = section.title and lines[0] is not section.lines[0]
        title = f"{section.title} (continued)" if is_continued else section.title
        yield Section(title, lines, section.warning, section.notes)
