"""Checks of the tables of a finished cell: columns, owner, number of rows and duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS
from lico_bench.store.cell_folder import CellFolder
from lico_bench.store.files import read_arrow
from lico_bench.store.integrity import Damage

# Columns that identify a row within a cell.
KEYS = {
    "rows": ("image_id", "method", "metric", "protocol"),
    "curves": ("image_id", "method", "protocol", "curve"),
    "gallery": ("image_id", "method"),
    "history": ("epoch", "quantity"),
}
COLUMNS = {
    "rows": ROW_COLUMNS,
    "curves": CURVE_COLUMNS,
    "gallery": ("cell", *KEYS["gallery"]),
    "history": ("cell", *KEYS["history"], "value"),
}


def check_tables(cell: CellFolder, *, pair: str | None = None) -> tuple[Damage, ...]:
    """Return what is wrong with the content of a finished cell's tables.

    Args:
        pair: expected pair of the rows, from the manifest; not compared if None.
    """
    return tuple(
        Damage(cell.table(name), problem)
        for name in KEYS
        if (problem := next(_problems(cell, name, pair), ""))
    )


def _problems(cell: CellFolder, name: str, pair: str | None) -> Iterator[str]:
    owners = {"cell": cell.path.name, "pair": pair}
    texts = [*KEYS[name], *(owner for owner in owners if owner in COLUMNS[name])]
    try:
        table: Any = read_arrow(cell.table(name), COLUMNS[name], texts=texts)
    except (BrokenFileError, MissingDataError) as error:
        yield str(error)
        return
    missing = [column for column in COLUMNS[name] if column not in table.column_names]
    if missing:
        yield f"columns missing: {', '.join(missing)}"
        return
    for owner, key in owners.items():
        others = set(_unique_texts(table, owner)) - {key} if key is not None else set()
        if others:
            yield f"rows of another {owner}, {sorted(map(str, others))[0]}"
    count = cell.record().rows
    if name == "rows" and count is not None and table.num_rows != count:
        yield f"{table.num_rows:,} rows instead of {count:,}"
    repeated = int(table.select(list(KEYS[name])).to_pandas().duplicated().sum())
    if repeated:
        yield f"{repeated:,} rows occur twice"


def _unique_texts(table: Any, column: str) -> list[Any]:
    return table.column(column).unique().to_pylist() if column in table.column_names else []
