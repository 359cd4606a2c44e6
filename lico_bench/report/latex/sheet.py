"""Content of a table, independent of its size and typesetting."""

from __future__ import annotations

from dataclasses import dataclass

HOLDS_STANDINS = "Holds stand-in data."


@dataclass(frozen=True)
class Cell:
    """A cell with its text, an optional second line and an optional footnote."""

    text: str
    second_line: str = ""
    is_bold: bool = False
    is_faint: bool = False
    note: str = ""
    width: int = 1  # columns


@dataclass(frozen=True)
class Line:
    """A row; `protocol` and `unit` of its values are listed in the notes below the table."""

    cells: tuple[Cell, ...]
    protocol: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Section:
    """Lines below a title; an empty title is not shown."""

    title: str
    lines: tuple[Line, ...]
    warning: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        headers: of the columns; line breaks are kept.
        align: a letter per column: l, c or r.
        notes: shown below each part of the table, after the notes of its cells and sections.
        warning: shown in bold after the caption.
        shares: share of the full width per column of running text; empty for columns of natural
            width.
        num_labels: number of leading columns that are blank where they repeat the row above.
    """

    name: str
    run_name: str
    caption: str
    headers: tuple[str, ...]
    align: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    warning: str = ""
    shares: tuple[float, ...] = ()
    num_labels: int = 0
