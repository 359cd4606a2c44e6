"""What stands under a table of the paper: units, what is bold, what stops a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from lico_bench.claims.published import UNCONFIRMED
from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.layouts.records import Entry
from lico_bench.report.layouts.table_specs import TableSpec, dataset_title, spec_of

SPLITS = ("test", "val")


def notes_of(
    form: TableSpec, numbers: pd.DataFrame, ours: Sequence[Entry], content: ReportContent
) -> Iterator[str]:
    """The notes, one sentence or two each.

    Args:
        form: of the table.
        numbers: the published ones in it.
        ours: this run's numbers in it.
        content: of the run.
    """
    yield _units(form, content)
    known = numbers[numbers["confidence"] != UNCONFIRMED]
    if len(known) < len(numbers):
        yield _how_to_fill_in(numbers[numbers["confidence"] == UNCONFIRMED])
    if not known.empty:
        yield "Published numbers come without intervals; each as its source prints it."
    readings = known.loc[known["reading"] != "", ["source", "reading"]].drop_duplicates()
    if not readings.empty:
        message = ", ".join(f"{row.reading} ({row.source})" for row in readings.itertuples())
        yield f"LICO is what each source computed under that name; as arms of this project: {message}."
    standins = _standins(numbers, content)
    if standins:
        yield (
            f"This run has drawn stand-ins for {', '.join(standins)}; their numbers never stand "
            "beside published ones."
        )
    if ours:
        blocks = _blocks(ours, content)
        yield _this_run(form, blocks, content)
        yield from _comparability(form, known, blocks, content)


def _units(form: TableSpec, content: ReportContent) -> str:
    found = [metric for metric in form.metrics if metric in content.specs]
    titles: dict[str, list[str]] = {}
    for spec in (spec_of(content, metric) for metric in found or form.metrics[:1]):
        unit = f"{spec.unit}, in percent" if formatting.is_percent(spec) else spec.unit
        titles.setdefault(unit, []).append(formatting.title_with_arrow(spec))
    message = "; ".join(f"{', '.join(names)}: {unit}" for unit, names in titles.items())
    return f"{message}. Arrows point to the better end."


def _how_to_fill_in(numbers: pd.DataFrame) -> str:
    files = ", ".join(f"baselines/published/{name}.csv" for name in sorted(set(numbers["file"])))
    known = "; ".join(sorted(set(numbers["note"]) - {""}))
    return (
        f"Not confirmed: no source at hand holds the number ({known or 'nothing else is known'}). "
        f"To fill it in: {files}, as the README beside it tells."
    )


def _standins(numbers: pd.DataFrame, content: ReportContent) -> list[str]:
    listed = set(numbers["dataset"])
    drawn = [block.dataset for block in content.blocks if block.is_standin]
    return [dataset_title(content, name) for name in dict.fromkeys(drawn) if name in listed]


def _blocks(ours: Sequence[Entry], content: ReportContent) -> list[Block]:
    datasets = {entry.where["dataset"] for entry in ours}
    return [block for block in content.blocks if not block.is_standin and block.dataset in datasets]


def _this_run(form: TableSpec, blocks: Sequence[Block], content: ReportContent) -> str:
    sizes = [
        f"{dataset_title(content, block.dataset)}, {block.backbone}: "
        f"{formatting.plural(int(rows['num_images'].max()), 'image')}, "
        f"{formatting.plural(int(rows['num_seeds'].max()), 'seed')}"
        for block in blocks
        if not (rows := _scores(form, block)).empty
    ]
    corrected = formatting.correction(content.num_compared)
    return (
        f"This run: mean and 95 % interval ({'; '.join(sizes)}). Bold: better than what it is "
        f"compared with, p < {formatting.SIGNIFICANT:g} after {corrected}."
    )


def _scores(form: TableSpec, block: Block) -> pd.DataFrame:
    return block.means[block.means["metric"].isin(form.metrics)]


def _comparability(
    form: TableSpec, known: pd.DataFrame, blocks: Sequence[Block], content: ReportContent
) -> Iterator[str]:
    """Why this run's numbers and the published ones may differ, apart from LICO."""
    known = known[known["dataset"].isin([block.dataset for block in blocks])]
    if known.empty:
        return
    reasons = [
        *_protocols(form, known, blocks),
        *_images(form, known, blocks, content),
        *_backbones(known, blocks),
    ]
    if reasons:
        yield f"Not comparable one to one with the published numbers: {'; '.join(reasons)}."


def _protocols(form: TableSpec, known: pd.DataFrame, blocks: Sequence[Block]) -> Iterator[str]:
    ours = sorted({one for block in blocks for one in _scores(form, block)["protocol"] if one})
    theirs = sorted(set(known["protocol"]) - {""})
    if ours and {one.partition("@")[0] for one in ours} != set(theirs):
        message = ", ".join(theirs) or "rules that are not known"
        yield f"this run scores by {', '.join(ours)}, they by {message}"


def _images(
    form: TableSpec, known: pd.DataFrame, blocks: Sequence[Block], content: ReportContent
) -> Iterator[str]:
    for block in blocks:
        facts = content.manifest.get("datasets", {}).get(block.dataset, {}).get("found") or {}
        counts = [facts[split][1] for split in SPLITS if facts.get(split)]
        rows = _scores(form, block)
        if counts and counts[0] and not rows.empty and rows["num_images"].min() < counts[0]:
            title = dataset_title(content, block.dataset)
            least = int(rows["num_images"].min())
            yield f"this run scores {least:,} of {counts[0]:,} test images of {title}"
    if (known["pictures"] != "").any():
        yield "some of theirs are of single images"


def _backbones(known: pd.DataFrame, blocks: Sequence[Block]) -> Iterator[str]:
    ours = sorted({block.backbone for block in blocks})
    theirs = sorted(set(known["backbone"]) - {""})
    if theirs and ours != theirs:
        yield f"this run trains {', '.join(ours)}, they {', '.join(theirs)}"
