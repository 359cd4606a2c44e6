"""Build the paper's tables from published values and the values of a run, with their notes.

Tables without any value are included too, so that readers see what is missing. Values of stand-ins
are never shown next to published ones: their cells stay empty, with a note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from lico_bench.claims.published import UNCONFIRMED, read_published
from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.paper_values import (
    ARMS,
    HEADERS,
    METHODS,
    TABLE_SPECS,
    Entry,
    TableSpec,
    dataset_title,
    published_entries,
    run_entries,
    spec_of,
)
from lico_bench.report.tables import Cell, Row, Section, Table

Key = tuple[str, ...]

PAPER = "paper_2023"  # the source of the tables, listed first
SPLITS = ("test", "val")
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
    headers = ("\n".join(_labels(table.across, column, content)) for column in columns)
    own_rows = {_key(table.by, entry) for entry in measured}
    rows = _rows(table, columns, entries, own_rows, content)
    return Table(
        name=f"layout_{name}",
        title=title,
        caption=table.caption,
        columns=(*(HEADERS[part] for part in table.by), "Source", *headers),
        sections=(Section("", tuple(map(Row, rows))),),
        notes=tuple(_notes(table, published, measured, content)),
    )


def _columns(table: TableSpec, entries: Sequence[Entry]) -> list[Key]:
    """Return the metrics and arms of the table for which any entry exists."""
    values = {"metric": table.metrics, "arm": table.arms}
    columns: list[Key] = [()]
    for part in table.across:
        columns = [(*column, value) for column in columns for value in values[part]]
    used = {_key(table.across, entry) for entry in entries}
    return [column for column in columns if column in used]


def _rows(
    table: TableSpec, columns: Sequence[Key], entries: Sequence[Entry], own_rows: set[Key],
    content: ReportContent,
) -> Iterator[tuple[Cell, ...]]:  # fmt: skip
    """Yield the rows grouped by row key: published ones, then at least one of this run.

    Args:
        own_rows: keys of rows that have a value of this run.
    """
    rows_by_key: dict[Key, dict[str, dict[Key, Cell]]] = {}
    datasets: dict[Key, str] = {}
    for entry in entries:
        key = _key(table.by, entry)
        row = rows_by_key.setdefault(key, {}).setdefault(entry.source, {})
        row[_key(table.across, entry)] = entry.cell
        datasets[key] = entry.keys["dataset"]
    for key, rows in rows_by_key.items():
        labels = [Cell(label, "label") for label in _labels(table.by, key, content)]
        for source, row in rows.items():
            cells = (row.get(column, EMPTY_CELL) for column in columns)
            yield (*labels, Cell(source, "label"), *cells)
        if key not in own_rows:
            yield (*labels, *_empty_row(datasets[key], len(columns), content))


def _empty_row(dataset: str, width: int, content: ReportContent) -> tuple[Cell, ...]:
    """Source and empty cells of this run, which has no value or only values of a stand-in."""
    source, note = "This run", ""
    if any(block.dataset == dataset and block.is_standin for block in content.blocks):
        source = f"This run, {formatting.STANDIN}"
        note = "Values of stand-ins are not shown next to published ones."
    return (Cell(source, "label"), *[Cell(formatting.NO_VALUE, "empty", note)] * width)


def _labels(parts: Sequence[str], key: Key, content: ReportContent) -> list[str]:
    """Return the display names of a row's or column's key."""
    titles: dict[str, Callable[[str], str]] = {
        "dataset": lambda name: dataset_title(content, name),
        "method": lambda name: METHODS.get(name) or content.method_title(name),
        "metric": lambda name: formatting.title_with_arrow(spec_of(content, name)),
        "arm": lambda name: ARMS[name],
        "labels": lambda name: name or formatting.NO_VALUE,
        "setting": lambda name: name.rpartition("=")[2] or formatting.NO_VALUE,
    }
    return [titles[part](name) for part, name in zip(parts, key, strict=True)]


def _key(parts: Sequence[str], entry: Entry) -> Key:
    return tuple(entry.keys[part] for part in parts)


def _notes(
    table: TableSpec, published: pd.DataFrame, measured: Sequence[Entry], content: ReportContent
) -> Iterator[str]:
    """Yield the notes of a table.

    Args:
        table: the table.
        published: its published values.
        measured: its values of this run.
        content: content of the report of the run.
    """
    yield _units_note(table, content)
    known = published[published["confidence"] != UNCONFIRMED]
    if len(known) < len(published):
        yield _unconfirmed_note(published[published["confidence"] == UNCONFIRMED])
    if not known.empty:
        yield "Published numbers come without intervals; each as its source prints it."
    variants = known.loc[known["reading"] != "", ["source", "reading"]].drop_duplicates()
    if not variants.empty:
        arms = ", ".join(f"{row.reading} ({row.source})" for row in variants.itertuples())
        yield f"LICO is what each source computed under that name; as arms of this project: {arms}."
    standins = dict.fromkeys(block.dataset for block in content.blocks if block.is_standin)
    listed = [
        dataset_title(content, name) for name in standins if name in set(published["dataset"])
    ]
    if listed:
        yield (
            f"This run has drawn stand-ins for {', '.join(listed)}; their numbers never stand "
            "beside published ones."
        )
    if measured:
        datasets = {entry.keys["dataset"] for entry in measured}
        real = [block for block in content.blocks if not block.is_standin]
        blocks = [block for block in real if block.dataset in datasets]
        yield _run_note(table, blocks, content)
        yield from _comparability(table, known, blocks, content)


def _units_note(table: TableSpec, content: ReportContent) -> str:
    measured = [metric for metric in table.metrics if metric in content.specs]
    titles: dict[str, list[str]] = {}
    for spec in (spec_of(content, metric) for metric in measured or table.metrics[:1]):
        unit = f"{spec.unit}, in percent" if formatting.is_percent(spec) else spec.unit
        titles.setdefault(unit, []).append(formatting.title_with_arrow(spec))
    units = "; ".join(f"{', '.join(names)}: {unit}" for unit, names in titles.items())
    return f"{units}. Arrows point to the better end."


def _unconfirmed_note(unconfirmed: pd.DataFrame) -> str:
    names = sorted(set(unconfirmed["file"]))
    files = ", ".join(f"baselines/published/{name}.csv" for name in names)
    details = "; ".join(sorted(set(unconfirmed["note"]) - {""})) or "nothing else is known"
    return (
        f"Not confirmed: no available source contains the number ({details}). "
        f"To fill it in: {files}; see the README in that folder."
    )


def _run_note(table: TableSpec, blocks: Sequence[Block], content: ReportContent) -> str:
    sizes = [
        f"{dataset_title(content, block.dataset)}, {block.backbone}: "
        f"{formatting.plural(int(rows['num_images'].max()), 'image')}, "
        f"{formatting.plural(int(rows['num_seeds'].max()), 'seed')}"
        for block in blocks
        if not (rows := _means(table, block)).empty
    ]
    correction = formatting.correction(content.num_compared)
    return (
        f"This run: mean and 95 % interval ({'; '.join(sizes)}). Bold: better than what it is "
        f"compared with, q < {formatting.SIGNIFICANT:g}, the {correction}."
    )


def _means(table: TableSpec, block: Block) -> pd.DataFrame:
    return block.means[block.means["metric"].isin(table.metrics)]


def _comparability(
    table: TableSpec, known: pd.DataFrame, blocks: Sequence[Block], content: ReportContent
) -> Iterator[str]:
    """Yield a note on differences in setup between this run and the published values, if any."""
    known = known[known["dataset"].isin([block.dataset for block in blocks])]
    if known.empty:
        return
    reasons = list(_departures(table, known, blocks, content))
    if reasons:
        yield f"Not comparable one to one with the published numbers: {'; '.join(reasons)}."


def _departures(
    table: TableSpec, known: pd.DataFrame, blocks: Sequence[Block], content: ReportContent
) -> Iterator[str]:
    """Yield what is not the same: protocols, test images and backbones."""
    protocols = {name for block in blocks for name in _means(table, block)["protocol"] if name}
    published = sorted(set(known["protocol"]) - {""})
    if protocols and {name.partition("@")[0] for name in protocols} != set(published):
        names = ", ".join(published) or "rules that are not known"
        yield f"this run scores by {', '.join(sorted(protocols))}, they by {names}"
    for block in blocks:
        facts = content.manifest.datasets.get(block.dataset)
        found = {} if facts is None else facts.found
        counts = [found[split][1] for split in SPLITS if split in found]
        rows = _means(table, block)
        if counts and counts[0] and not rows.empty and rows["num_images"].min() < counts[0]:
            title = dataset_title(content, block.dataset)
            num_scored = int(rows["num_images"].min())
            yield f"this run scores {num_scored:,} of {counts[0]:,} test images of {title}"
    if (known["pictures"] != "").any():
        yield "some published values are of single images"
    trained = sorted({block.backbone for block in blocks})
    published = sorted(set(known["backbone"]) - {""})
    if published and trained != published:
        yield f"this run trains {', '.join(trained)}, they {', '.join(published)}"
