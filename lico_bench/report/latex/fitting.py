"""How large a table is: the font in which it fits its page, and where it is cut if none does.

Widths and heights are estimated from the number of signs, so that no table of the document that
comes with the report runs over its margin; a paper with narrower pages may need a smaller font.
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

# Of A4 with margins of 20 mm, in points; the page's number stands below.
TEXT_WIDTH, TEXT_HEIGHT = 483.0, 705.0
LEAST_WIDTH = 50.0  # of a column of running text
HEAD_SIGNS = 15  # of a head before it is broken
CAPTION_HEIGHT, NOTE_HEIGHT, NOTE_SIGNS = 70.0, 9.6, 112


class Font(NamedTuple):
    """Its command, an em of Computer Modern, the height of a line and the room between columns.

    All in points.
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
# Widths of signs in em, after the metrics of Computer Modern Roman at 10 pt.
WIDTHS = MappingProxyType(
    {
        **dict.fromkeys("ijlI.,:;'![]|/", 0.3), **dict.fromkeys(" -f_", 0.34),
        **dict.fromkeys("rst()", 0.4), **dict.fromkeys("cez", 0.45),
        **dict.fromkeys("0123456789agoJ?*↑↓–", 0.5), **dict.fromkeys("bdhknpquvxyS", 0.56),
        **dict.fromkeys("mMW—", 0.95),
    }
)  # fmt: skip
OTHER_WIDTH = 0.78  # capitals and mathematical signs
BOLD, MARK, INDENT = 1.16, 0.4, 1.0


@dataclass(frozen=True)
class Column:
    """`align` is l, c or r; `width` is in points, None for as wide as it gets."""

    align: str
    width: float | None = None


@dataclass(frozen=True)
class Fit:
    """The number of the font in `FONTS`, and the columns."""

    font: int
    columns: tuple[Column, ...]


def fit(sheet: Sheet) -> Fit:
    """The largest font in which the columns fit; running text shares the whole width."""
    rooms = [TEXT_WIDTH - font.gap * (len(sheet.heads) - 1) for font in FONTS]
    if sheet.shares:
        return Fit(1, tuple(Column("l", share * rooms[1]) for share in sheet.shares))
    widths = _widths(sheet)
    columns = tuple(map(Column, sheet.align))
    for number, font in enumerate(FONTS):
        if sum(widths) * font.em <= rooms[number]:
            return Fit(number, columns)
    # Not even in the smallest: the widest column is broken into lines.
    widest = widths.index(max(widths))
    rest = FONTS[-1].em * (sum(widths) - widths[widest])
    column = Column("l", max(rooms[-1] - rest, LEAST_WIDTH))
    return Fit(len(FONTS) - 1, (*columns[:widest], column, *columns[widest + 1 :]))


def paginate(sheet: Sheet, layout: Fit) -> Iterator[tuple[Section, ...]]:
    """The sections, cut where a page is full; what goes on says so in its title.

    Lines of the same labels stay together if a page can hold them; a note or a title is counted
    once on each page.
    """
    full = TEXT_HEIGHT - CAPTION_HEIGHT - sum(map(_note_height, sheet.notes))
    page: list[tuple[Section, Line]] = []
    left, message = full, set[str]()
    for section, lines in _blocks(sheet, layout, full):
        needed = _block_height(section, lines, layout, page, message)
        if page and needed > left:
            yield tuple(_grouped(page))
            page, left, message = [], full, set()
            needed = _block_height(section, lines, layout, page, message)
        left -= needed
        message |= _message(section, lines).keys()
        page += [(section, line) for line in lines]
    if page:
        yield tuple(_grouped(page))


def notes_of(sheet: Sheet, sections: Sequence[Section]) -> list[str]:
    """What stands under a part that holds these sections, each note once."""
    own = [note for section in sections for note in section.notes]
    lines = [line for section in sections for line in section.lines]
    rules = dict.fromkeys(line.rules for line in lines if line.rules)
    if rules:
        own.append(f"Protocols: {'; '.join(rules)}.")
    units: dict[str, dict[str, None]] = {}
    for line in lines:
        if line.unit:
            units.setdefault(line.unit, {})[line.cells[0].text] = None
    if units:
        message = (f"{', '.join(names)}: {unit}" for unit, names in units.items())
        own.append(f"Units: {'; '.join(message)}.")
    return list(dict.fromkeys([*own, *sheet.notes]))


def places(line: Line) -> Iterator[tuple[int, Cell]]:
    """Each cell of a line with its first column."""
    column = 0
    for cell in line.cells:
        yield column, cell
        column += cell.width


def broken(head: str) -> list[str]:
    """A head in rows of a few words."""
    rows = [row for part in head.split("\n") for row in textwrap.wrap(part, HEAD_SIGNS)]
    return rows or [""]


def ems(text: str) -> float:
    """About how wide a text is."""
    return sum(WIDTHS.get(sign, OTHER_WIDTH) for sign in text)


def _widths(sheet: Sheet) -> list[float]:
    """Of each column, in em; cells over several columns are left out."""
    widths = [max(map(ems, broken(head))) for head in sheet.heads]
    for section in sheet.sections:
        for line in section.lines:
            for column, cell in places(line):
                if cell.width == 1:
                    own = ems(cell.text) * (BOLD if cell.is_bold else 1) + MARK * bool(cell.note)
                    own += INDENT * bool(section.title and column == 0)
                    widths[column] = max(widths[column], own, ems(cell.below))
    return widths


def _line_height(line: Line, layout: Fit) -> float:
    font, rows = FONTS[layout.font], 1
    for number, cell in places(line):
        width = layout.columns[number].width if cell.width == 1 else None
        wrapped = math.ceil(1.06 * ems(cell.text) * font.em / width) if width else 1
        rows = max(rows, wrapped + bool(cell.below))
    return 1.02 * rows * font.line


def _note_height(note: str) -> float:
    return NOTE_HEIGHT * math.ceil(len(note) / NOTE_SIGNS)


def _blocks(sheet: Sheet, layout: Fit, full: float) -> Iterator[tuple[Section, list[Line]]]:
    """Lines that belong together: of the same labels, as long as they fit a page."""
    for section in sheet.sections:
        for _, group in groupby(section.lines, key=lambda line: _labels(sheet, line)):
            lines = list(group)
            if sheet.num_labels and _block_height(section, lines, layout, (), set()) <= full:
                yield section, lines
            else:
                yield from ((section, [line]) for line in lines)


def _labels(sheet: Sheet, line: Line) -> tuple[str, ...]:
    return tuple(cell.text for cell in line.cells[: sheet.num_labels])


def _message(section: Section, lines: Sequence[Line]) -> dict[str, float]:
    """What these lines want said below the table, with the height that it takes."""
    marked = (cell.note for line in lines for cell in line.cells if cell.note)
    heights = {note: _note_height(note) for note in (*section.notes, *marked)}
    # Protocols and units share a note each, a name after the other.
    names = [line.rules for line in lines]
    names += [f"{line.cells[0].text} {line.unit}" for line in lines if line.unit]
    return heights | {name: NOTE_HEIGHT * len(name) / NOTE_SIGNS for name in names}


def _block_height(
    section: Section, lines: Sequence[Line], layout: Fit, page: Sequence[tuple[Section, Line]],
    message: set[str],
) -> float:  # fmt: skip
    """What a block adds to a page: its lines, room above it, its title and notes if new there."""
    is_new = bool(section.title) and (not page or page[-1][0] is not section)
    height = FONTS[layout.font].line * (0.5 * (len(lines) > 1) + 1.5 * is_new)
    height += sum(_line_height(line, layout) for line in lines)
    wanted = _message(section, lines)
    return height + sum(wanted[note] for note in wanted.keys() - message)


def _grouped(page: Sequence[tuple[Section, Line]]) -> Iterator[Section]:
    """The sections of a page with those of their lines that are on it."""
    for _, found in groupby(page, key=lambda pair: id(pair[0])):
        pairs = list(found)
        section, lines = pairs[0][0], tuple(line for _, line in pairs)
        goes_on = section.title and lines[0] is not section.lines[0]
        title = f"{section.title} (continued)" if goes_on else section.title
        yield Section(title, lines, section.alarm, section.notes)
