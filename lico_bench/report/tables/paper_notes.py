"""Notes below a table of the paper: units, significance and limits of comparability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from lico_bench.claims.published import UNCONFIRMED
from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.tables.paper_cells import Entry
from lico_bench.report.tables.paper_specs import TableSpec, dataset_title, spec_of

SPLITS = ("test", "val")


def paper_notes(
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
    standins = _standin_titles(published, content)
    if standins:
        yield (
            f"This run has drawn stand-ins for {', '.join(standins)}; their numbers never stand "
            "beside published ones."
        )
    if measured:
        blocks = _blocks(measured, content)
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
        f"Not confirmed: no source at hand holds the number ({details}). "
        f"To fill it in: {files}, as the README beside it tells."
    )


def _standin_titles(published: pd.DataFrame, content: ReportContent) -> list[str]:
    listed = set(published["dataset"])
    standins = [block.dataset for block in content.blocks if block.is_standin]
    return [dataset_title(content, name) for name in dict.fromkeys(standins) if name in listed]


def _blocks(measured: Sequence[Entry], content: ReportContent) -> list[Block]:
    datasets = {entry.keys["dataset"] for entry in measured}
    return [block for block in content.blocks if not block.is_standin and block.dataset in datasets]


def _run_note(table: TableSpec, blocks: Sequence[Block], content: ReportContent) -> str:
    sizes = [
        f"{dataset_title(content, block.dataset)}, {block.backbone}: "
        f"{formatting.plural(int(rows['num_images'].max()), 'image')}, "
        f"{formatting.plural(int(rows['num_seeds'].max()), 'seed')}"
        for block in blocks
        if not (rows := _scores(table, block)).empty
    ]
    correction = formatting.correction(content.num_compared)
    return (
        f"This run: mean and 95 % interval ({'; '.join(sizes)}). Bold: better than what it is "
        f"compared with, p < {formatting.SIGNIFICANT:g} after {correction}."
    )


def _scores(table: TableSpec, block: Block) -> pd.DataFrame:
    return block.means[block.means["metric"].isin(table.metrics)]


def _comparability(
    table: TableSpec, known: pd.DataFrame, blocks: Sequence[Block], content: ReportContent
) -> Iterator[str]:
    """Yield a note on differences in setup between this run and the published values, if any."""
    known = known[known["dataset"].isin([block.dataset for block in blocks])]
    if known.empty:
        return
    reasons = [
        *_protocols(table, known, blocks),
        *_images(table, known, blocks, content),
        *_backbones(known, blocks),
    ]
    if reasons:
        yield f"Not comparable one to one with the published numbers: {'; '.join(reasons)}."


def _protocols(table: TableSpec, known: pd.DataFrame, blocks: Sequence[Block]) -> Iterator[str]:
    protocols = {name for block in blocks for name in _scores(table, block)["protocol"] if name}
    published = sorted(set(known["protocol"]) - {""})
    if protocols and {name.partition("@")[0] for name in protocols} != set(published):
        names = ", ".join(published) or "rules that are not known"
        yield f"this run scores by {', '.join(sorted(protocols))}, they by {names}"


def _images(
    table: TableSpec, known: pd.DataFrame, blocks: Sequence[Block], content: ReportContent
) -> Iterator[str]:
    for block in blocks:
        facts = content.manifest.datasets.get(block.dataset)
        found = {} if facts is None else facts.found
        counts = [found[split][1] for split in SPLITS if split in found]
        rows = _scores(table, block)
        if counts and counts[0] and not rows.empty and rows["num_images"].min() < counts[0]:
            title = dataset_title(content, block.dataset)
            num_scored = int(rows["num_images"].min())
            yield f"this run scores {num_scored:,} of {counts[0]:,} test images of {title}"
    if (known["pictures"] != "").any():
        yield "some of theirs are of single pictures"


def _backbones(known: pd.DataFrame, blocks: Sequence[Block]) -> Iterator[str]:
    trained = sorted({block.backbone for block in blocks})
    published = sorted(set(known["backbone"]) - {""})
    if published and trained != published:
        yield f"this run trains {', '.join(trained)}, they {', '.join(published)}"
