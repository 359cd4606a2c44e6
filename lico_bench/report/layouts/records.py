"""Records of the paper's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["label", "published", "ours", "missing", "empty"]


@dataclass(frozen=True)
class LayoutCell:
    """One cell.

    Attributes:
        text: displayed text; `value [low, high]` for a value of this run.
        kind: `label` identifies the row; `published` and `ours` (this run) are values; `missing` is
            a published value that is not confirmed; `empty` has no value.
        note: source and confidence of a published value, basis of a value of this run, or the
            reason for an empty cell.
        is_significant: whether a value of this run is better than the value it is compared with,
            after correction for all differences of the report.
    """

    text: str
    kind: Kind
    note: str = ""
    is_significant: bool = False


@dataclass(frozen=True)
class Layout:
    """One table of the paper.

    Attributes:
        columns: headers; those of values are `score, arm`, or one of the two.
        rows: one cell per column; the first cells are labels.
        notes: units, limits of comparability, and how to fill in unconfirmed values.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[LayoutCell, ...], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One value of a source; `keys` holds dataset, labels, arm, method, metric and setting."""

    keys: Mapping[str, str]
    source: str
    cell: LayoutCell
