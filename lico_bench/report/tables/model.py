"""Model of a table, independent of the format in which it is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["label", "value", "published", "ours", "missing", "empty"]
HOLDS_STANDINS = "Holds stand-in data."


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: displayed text; `value [low, high]` for a value of this run beside published ones.
        kind: `label` identifies the row, the others are values. Beside published values
            (`published`), those of this run are `ours`; `missing` is a published value that is not
            confirmed; `empty` has no value.
        note: source and confidence of a published value, basis of a value of this run, or the
            reason for an empty cell.
        is_bold: whether the value is significant after correction.
    """

    text: str
    kind: Kind = "value"
    note: str = ""
    is_bold: bool = False


@dataclass(frozen=True)
class Row:
    """A row; `protocol` and `unit` of its values are listed in the notes below the table."""

    cells: tuple[Cell, ...]
    protocol: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Section:
    """Rows below a title; an empty title is not shown."""

    title: str
    rows: tuple[Row, ...]
    warning: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table; the first cells of every row are labels.

    Attributes:
        columns: headers; `score, arm` for a value of one arm.
        notes: shown below the table, after the notes of its sections and rows.
        warning: shown in bold after the caption.
        shares: share of the line width per column of running text; empty for columns of natural
            width.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    caption: str = ""
    notes: tuple[str, ...] = ()
    warning: str = ""
    shares: tuple[float, ...] = ()

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        """The cells of all rows."""
        return [row.cells for section in self.sections for row in section.rows]

    @property
    def num_labels(self) -> int:
        """Number of label columns; all but the last are blank where they repeat the row above."""
        first = next(row for section in self.sections for row in section.rows)
        return sum(cell.kind == "label" for cell in first.cells)

    def all_notes(self) -> list[str]:
        """Return the notes of sections, protocols, units and the table, each once."""
        notes = [note for section in self.sections for note in section.notes]
        rows = [row for section in self.sections for row in section.rows]
        protocols = dict.fromkeys(row.protocol for row in rows if row.protocol)
        if protocols:
            notes.append(f"Protocols: {'; '.join(protocols)}.")
        units: dict[str, dict[str, None]] = {}
        for row in rows:
            if row.unit:
                units.setdefault(row.unit, {})[row.cells[0].text] = None
        if units:
            groups = (f"{', '.join(names)}: {unit}" for unit, names in units.items())
            notes.append(f"Units: {'; '.join(groups)}.")
        return list(dict.fromkeys([*notes, *self.notes]))
