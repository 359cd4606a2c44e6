"""Every table of the paper as a form, filled with what is published and what a run measured.

A form that nobody has a number for is shown all the same, so that a reader sees what is open.
Stand-ins never stand beside published numbers: their places stay empty, and a note says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from lico_bench.claims.published import read_published
from lico_bench.report import formatting
from lico_bench.report.content import ReportContent
from lico_bench.report.layouts.cells import published_entries, user_entries
from lico_bench.report.layouts.notes import notes_of
from lico_bench.report.layouts.records import Entry, Layout, LayoutCell
from lico_bench.report.layouts.table_specs import (
    ARMS,
    FORMS,
    HEADS,
    TableSpec,
    dataset_title,
    method_title,
    spec_of,
)

Key = tuple[str, ...]
Row = dict[Key, LayoutCell]

PAPER = "paper_2023"  # whose tables these are, so that it comes first
NO_NUMBER = LayoutCell(formatting.NOTHING, "empty")


def build_layouts(
    content: ReportContent, published: pd.DataFrame | None = None
) -> tuple[Layout, ...]:
    """Every form, once per data set where the paper does so; none is left out for being empty.

    Args:
        content: of the run.
        published: as `read_published` gives it; None reads the numbers that come with lico-bench.

    Raises:
        BrokenFileError: if a file of published numbers is no such table.
    """
    frame = read_published() if published is None else published
    frame = frame.sort_values("file", key=lambda names: names != PAPER, kind="stable")
    fine = set(frame.loc[frame["table"] == "fine_grained", "dataset"])
    return tuple(
        layout
        for form in FORMS
        for layout in _layouts(form, frame[frame["table"] == form.table], fine, content)
    )


def _layouts(
    form: TableSpec, numbers: pd.DataFrame, fine: set[str], content: ReportContent
) -> Iterator[Layout]:
    ours = list(user_entries(form, numbers, fine, content))
    if not form.per_dataset:
        yield _layout(form, form.table, form.title, numbers, ours, content)
        return
    for dataset in dict.fromkeys([*numbers["dataset"], *(one.where["dataset"] for one in ours)]):
        yield _layout(
            form,
            f"{form.table}_{dataset}",
            f"{form.title}, {dataset_title(content, dataset)}",
            numbers[numbers["dataset"] == dataset],
            [one for one in ours if one.where["dataset"] == dataset],
            content,
        )


def _layout(
    form: TableSpec,
    name: str,
    title: str,
    numbers: pd.DataFrame,
    ours: Sequence[Entry],
    content: ReportContent,
) -> Layout:
    entries = [*published_entries(numbers, content), *ours]
    columns = _columns(form, entries)
    return Layout(
        name=name,
        title=title,
        caption=form.caption,
        columns=(
            *(HEADS[part] for part in form.by),
            "Source",
            *(_head(form, column, content) for column in columns),
        ),
        rows=tuple(_rows(form, columns, entries, len(entries) - len(ours), content)),
        notes=tuple(notes_of(form, numbers, ours, content)),
    )


def _columns(form: TableSpec, entries: Sequence[Entry]) -> list[Key]:
    """The form's scores and arms, each if anyone has, or would have, a number for it."""
    known = {"metric": form.metrics, "arm": form.arms}
    columns: list[Key] = [()]
    for part in form.across:
        columns = [(*column, one) for column in columns for one in known[part]]
    used = {_key(form.across, entry) for entry in entries}
    return [column for column in columns if column in used]


def _head(form: TableSpec, column: Key, content: ReportContent) -> str:
    message = {
        "metric": lambda name: formatting.title_with_arrow(spec_of(content, name)),
        "arm": lambda name: ARMS[name],
    }
    return ", ".join(message[part](one) for part, one in zip(form.across, column, strict=True))


def _rows(
    form: TableSpec, columns: Sequence[Key], entries: Sequence[Entry], num_published: int,
    content: ReportContent,
) -> Iterator[tuple[LayoutCell, ...]]:  # fmt: skip
    """Rows of one place together: the published ones, then this run's, which is never left out."""
    places: dict[Key, dict[str, Row]] = {}
    own: set[Key] = set()
    datasets: dict[Key, str] = {}
    for number, entry in enumerate(entries):
        place = _key(form.by, entry)
        row = places.setdefault(place, {}).setdefault(entry.who, {})
        row[_key(form.across, entry)] = entry.cell
        datasets[place] = entry.where["dataset"]
        if number >= num_published:
            own.add(place)
    for place, rows in places.items():
        labels = tuple(
            LayoutCell(_label(part, one, content), "label")
            for part, one in zip(form.by, place, strict=True)
        )
        for who, row in rows.items():
            cells = (row.get(column, NO_NUMBER) for column in columns)
            yield (*labels, LayoutCell(who, "label"), *cells)
        if place not in own:
            yield (*labels, *_gap(datasets[place], len(columns), content))


def _gap(dataset: str, width: int, content: ReportContent) -> tuple[LayoutCell, ...]:
    """The row of this run where it has no number, or one of drawn images."""
    who, why = "This run", ""
    if any(block.dataset == dataset and block.is_standin for block in content.blocks):
        who = f"This run, {formatting.STANDIN}"
        why = "Numbers of drawn stand-ins never stand beside published ones."
    return (LayoutCell(who, "label"), *[LayoutCell(formatting.NOTHING, "empty", why)] * width)


def _label(part: str, name: str, content: ReportContent) -> str:
    if part == "dataset":
        return dataset_title(content, name)
    if part == "method":
        return method_title(content, name)
    if part == "metric":
        return formatting.title_with_arrow(spec_of(content, name))
    return name.rpartition("=")[2] or formatting.NOTHING


def _key(parts: Sequence[str], entry: Entry) -> Key:
    return tuple(entry.where[part] for part in parts)
