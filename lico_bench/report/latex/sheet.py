"""A table in plain words: what it says, before anyone asks how large it is or how it is set."""

from __future__ import annotations

from dataclasses import dataclass

HOLDS_STANDINS = "Holds stand-in data."


@dataclass(frozen=True)
class Cell:
    """One cell: what is read, a second line under it, and a note that a mark leads to."""

    text: str
    below: str = ""
    is_bold: bool = False
    is_faint: bool = False
    note: str = ""
    width: int = 1  # columns


@dataclass(frozen=True)
class Line:
    """A row; any part of the table that holds it says the protocol and the unit of its numbers."""

    cells: tuple[Cell, ...]
    rules: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Section:
    """Lines under a title, which is not shown where it is empty."""

    title: str
    lines: tuple[Line, ...]
    alarm: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A whole table.

    Attributes:
        heads: of the columns; a line break in one is kept.
        align: a letter per column: l, c or r.
        notes: what stands under each part of the table, below what its cells and sections say.
        alarm: said in bold after the caption.
        shares: of the whole width, one per column of running text; empty for columns as wide as
            what they hold.
        num_labels: first columns that stay blank where they repeat what stands above.
    """

    name: str
    run_name: str
    caption: str
    heads: tuple[str, ...]
    align: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    alarm: str = ""
    shares: tuple[float, ...] = ()
    num_labels: int = 0
