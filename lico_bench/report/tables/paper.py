"""Build the paper's tables from published values and the values of a run.

Tables without any value are included too, so that readers see what is missing. Values of stand-ins
are never shown next to published ones: their cells stay empty, with a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from lico_bench.claims.published import read_published
from lico_bench.report import formatting
from lico_bench.report.content import ReportContent
from lico_bench.report.tables.model import Cell, Row, Section, Table
from lico_bench.report.tables.paper_cells import Entry, published_entries, run_entries
from lico_bench.report.tables.paper_notes import paper_notes
from lico_bench.report.tables.paper_specs import (
    ARMS,
    HEADERS,
    TABLE_SPECS,
    TableSpec,
    dataset_title,
    method_title,
    spec_of,
)

Key = tuple[str, ...]

PAPER = "paper_2023"  # the source of the tables, listed first
EMPTY_CELL = Cell(formatting.NO_VALUE, "empty")


def paper_tables(
    content: ReportContent, published: pd.DataFrame | None = None
) -> tuple[Table, ...]:
    """Return every table of the paper, empty ones included.

    Args:
        content: content of the report of the run.
        published: published values as returned by `read_published`; None reads the packaged files.

    Raises:
        BrokenFileError: if a file of published values is malformed.
    """
    frame = read_published() if published is None else published
    frame = frame.sort_values("file", key=lambda names: names != PAPER, kind="stable")
    fine_grained = set(frame.loc[frame["table"] == "fine_grained", "dataset"])
    return tuple(
        table
        for spec in TABLE_SPECS
        for table in _tables(spec, frame[frame["table"] == spec.name], fine_grained, content)
    )


def _tables(
    table: TableSpec, published: pd.DataFrame, fine_grained: set[str], content: ReportContent
) -> Iterator[Table]:
    measured = list(run_entries(table, published, fine_grained, content))
    if not table.per_dataset:
        yield _table(table, table.name, table.title, published, measured, content)
        return
    run_datasets = (entry.keys["dataset"] for entry in measured)
    for dataset in dict.fromkeys([*published["dataset"], *run_datasets]):
        yield _table(
            table,
            f"{table.name}_{dataset}",
            f"{table.title}, {dataset_title(content, dataset)}",
            published[published["dataset"] == dataset],
            [entry for entry in measured if entry.keys["dataset"] == dataset],
            content,
        )


def _table(
    table: TableSpec,
    name: str,
    title: str,
    published: pd.DataFrame,
    measured: Sequence[Entry],
    content: ReportContent,
) -> Table:
    entries = [*published_entries(published, content), *measured]
    columns = _columns(table, entries)
    rows = _rows(table, columns, entries, len(entries) - len(measured), content)
    return Table(
        name=f"layout_{name}",
        title=title,
        caption=table.caption,
        columns=(
            *(HEADERS[part] for part in table.by),
            "Source",
            *(_header(table, column, content) for column in columns),
        ),
        sections=(Section("", tuple(map(Row, rows))),),
        notes=tuple(paper_notes(table, published, measured, content)),
    )


def _columns(table: TableSpec, entries: Sequence[Entry]) -> list[Key]:
    """Return the metrics and arms of the table for which any entry exists."""
    values = {"metric": table.metrics, "arm": table.arms}
    columns: list[Key] = [()]
    for part in table.across:
        columns = [(*column, value) for column in columns for value in values[part]]
    used = {_key(table.across, entry) for entry in entries}
    return [column for column in columns if column in used]


def _header(table: TableSpec, column: Key, content: ReportContent) -> str:
    titles = {
        "metric": lambda name: formatting.title_with_arrow(spec_of(content, name)),
        "arm": lambda name: ARMS[name],
    }
    return "\n".join(titles[part](name) for part, name in zip(table.across, column, strict=True))


def _rows(
    table: TableSpec, columns: Sequence[Key], entries: Sequence[Entry], num_published: int,
    content: ReportContent,
) -> Iterator[tuple[Cell, ...]]:  # fmt: skip
    """Yield the rows grouped by row key: published ones, then at least one of this run."""
    rows_by_key: dict[Key, dict[str, dict[Key, Cell]]] = {}
    measured: set[Key] = set()
    datasets: dict[Key, str] = {}
    for index, entry in enumerate(entries):
        key = _key(table.by, entry)
        row = rows_by_key.setdefault(key, {}).setdefault(entry.source, {})
        row[_key(table.across, entry)] = entry.cell
        datasets[key] = entry.keys["dataset"]
        if index >= num_published:
            measured.add(key)
    for key, rows in rows_by_key.items():
        labels = tuple(
            Cell(_label(part, name, content), "label")
            for part, name in zip(table.by, key, strict=True)
        )
        for source, row in rows.items():
            cells = (row.get(column, EMPTY_CELL) for column in columns)
            yield (*labels, Cell(source, "label"), *cells)
        if key not in measured:
            yield (*labels, *_empty_row(datasets[key], len(columns), content))


def _empty_row(dataset: str, width: int, content: ReportContent) -> tuple[Cell, ...]:
    """Source and empty cells of this run, which has no value or only values of a stand-in."""
    source, note = "This run", ""
    if any(block.dataset == dataset and block.is_standin for block in content.blocks):
        source = f"This run, {formatting.STANDIN}"
        note = "Values of stand-ins are not shown next to published ones."
    return (Cell(source, "label"), *[Cell(formatting.NO_VALUE, "empty", note)] * width)


def _label(part: str, name: str, content: ReportContent) -> str:
    if part == "dataset":
        return dataset_title(content, name)
    if part == "method":
        return method_title(content, name)
    if part == "metric":
        return formatting.title_with_arrow(spec_of(content, name))
    return name.rpartition("=")[2] or formatting.NO_VALUE


def _key(parts: Sequence[str], entry: Entry) -> Key:
    return tuple(entry.keys[part] for part in parts)
