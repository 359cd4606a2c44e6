"""A table of the paper as it is shown, and what it is put together from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["label", "published", "ours", "missing", "empty"]


@dataclass(frozen=True)
class LayoutCell:
    """One cell.

    Attributes:
        text: what is read; `value [low, high]` for a number of this run.
        kind: `label` says what its row is, `published` and `ours` are numbers, `missing` is a
            number that exists and that nobody could confirm, `empty` is none.
        note: where the number stands and how it is known, or what it rests on, or why it lacks.
        is_significant: a number of this run that is better than what it is compared with, after
            the correction for all differences of the report.
    """

    text: str
    kind: Kind
    note: str = ""
    is_significant: bool = False


@dataclass(frozen=True)
class Layout:
    """One table of the paper.

    Attributes:
        columns: heads; those of numbers are `score, arm`, or one of the two alone.
        rows: as many cells as columns; the first ones are labels.
        notes: what the numbers are, why they may not be comparable, how gaps are filled in.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[LayoutCell, ...], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One number of `who`; `where` names data set, labels, arm, method, metric and setting."""

    where: Mapping[str, str]
    who: str
    cell: LayoutCell
