"""Every number of the run as data that the page's script sorts and filters.

A run of 8 datasets, 11 arms and 40 metrics has tens of thousands of lines; as markup they would
take seconds to open. Names are told once, lines point at them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from lico_bench.report import formatting
from lico_bench.report.content import SETTING, Block, ReportContent
from lico_bench.report.page.anchors import Anchors
from lico_bench.report.page.lines import Line, each_line


class Column(NamedTuple):
    """A column of the table.

    `kind`: a `name` is a place in a list of names, a `number` is text that sorts by its value, a
    `count` is a whole number, a `text` is read and not sorted.
    """

    key: str
    title: str
    kind: str
    is_paired: bool = False  # only where arms are compared
    is_rare: bool = False  # only where some line has it
    is_detail: bool = False  # shown when asked for


COLUMNS = (
    Column("dataset", "Data set", "name"),
    Column("method", "Method", "name"),
    Column("score", "Score", "name"),
    Column("arm", "Arm", "name"),
    Column("reference", "Reference", "number", is_paired=True),
    Column("mean", "Mean", "number"),
    Column("difference", "Difference", "number", is_paired=True),
    Column("interval", "95 % interval", "text"),
    Column("word", "Says", "name", is_paired=True),
    Column("p_holm", "p (Holm)", "number", is_paired=True),
    Column("p_images", "p, these models", "number", is_paired=True, is_detail=True),
    Column("p_mcnemar", "p (McNemar)", "number", is_rare=True, is_detail=True),
    Column("effect_size", "Effect size", "number", is_paired=True),
    Column("equivalent", "Equivalent", "text", is_rare=True),
    Column("subset", "Images used", "name", is_paired=True),
    Column("num_images", "Images", "count"),
    Column("num_seeds", "Seeds", "count"),
    Column("num_skipped", "Skipped", "count", is_detail=True),
    Column("seed_part", "SE, seeds", "number", is_detail=True),
    Column("image_part", "SE, images", "number", is_detail=True),
    Column("per_seed", "Per seed", "text", is_detail=True),
    Column("protocol", "Rules", "name"),
    Column("models", "Models", "name"),
    Column("note", "Note", "text", is_rare=True),
)
SELECTS = ("dataset", "method", "score", "arm", "subset")


def all_numbers(content: ReportContent, anchors: Anchors) -> dict[str, Any]:
    """Columns, names, and lines whose cells are texts, counts or places in the names."""
    found = list(_each(content))
    columns = [column for column in COLUMNS if _is_used(column, [line for _, line in found])]
    names: dict[str, dict[tuple[Any, ...], int]] = {
        column.key: {} for column in columns if column.kind == "name"
    }

    def cell(column: Column, block: Block, line: Line) -> Any:
        if column.kind != "name":
            return getattr(line, column.key)
        entry = _name(content, anchors, column.key, block, line)
        return names[column.key].setdefault(tuple(entry.items()), len(names[column.key]))

    lines = [[cell(column, block, line) for column in columns] for block, line in found]
    return {
        "columns": [column._asdict() for column in columns],
        "selects": [key for key in SELECTS if len(names.get(key, ())) > 1],
        "names": {key: [dict(entry) for entry in entries] for key, entries in names.items()},
        "lines": lines,
    }


def setting_title(content: ReportContent, block: Block) -> str:
    """The dataset's title, with what sets it apart from another block of the same dataset."""
    others = [other for other in content.blocks if other.title == block.title]
    parts = [block.title]
    if len({other.backbone for other in others}) > 1:
        parts.append(block.backbone)
    if block.labels != "full":
        parts.append(f"{block.labels} labels")
    return ", ".join(parts)


def _each(content: ReportContent) -> Iterator[tuple[Block, Line]]:
    for block in content.blocks:
        frame = block.means if block.differences.empty else block.differences
        yield from ((block, line) for line in each_line(content, block, frame))
        both = each_line(content, block, block.both_correct, maps_only=True)
        yield from ((block, line) for line in both)


def _is_used(column: Column, lines: list[Line]) -> bool:
    """Whether a column has anything to say in this run."""
    if column.is_rare:
        return any(getattr(line, column.key) for line in lines)
    return not column.is_paired or any(line.difference for line in lines)


def _name(
    content: ReportContent, anchors: Anchors, key: str, block: Block, line: Line
) -> dict[str, Any]:
    """What the page has to know of a name: its text, where it leads, how it is marked."""
    setting = tuple(getattr(block, name) for name in SETTING)
    if key == "dataset":
        tag = formatting.STANDIN if block.is_standin else ""
        return {"text": setting_title(content, block), "tag": tag}
    if key == "method":
        return {"text": content.method_title(line.method), "faint": content.is_control(line.method)}
    if key == "score":
        is_percent = formatting.is_percent(content.specs[line.metric])
        return {
            "text": line.score,
            "unit": line.unit,
            "href": "#" + anchors.scores[line.metric],
            "scale": 0.01 if is_percent else 1,
        }
    if key == "protocol":
        href = "#" + anchors.rules(line.protocol, line.metric)
        return {"text": line.protocol or "definition", "href": href}
    if key == "models":
        return {"text": "models", "href": "#" + anchors.models(setting, line.arm)}
    if key == "arm":
        return {"text": content.arm_title(line.arm)}
    if key == "word":
        return {"text": line.word, "class": line.word.replace(" ", "-")}
    return {"text": str(getattr(line, key))}
