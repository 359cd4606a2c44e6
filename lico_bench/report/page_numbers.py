"""Scores on the page: a table per dataset, and all numbers as JSON, which a script sorts.

A run of 8 datasets, 11 arms and 40 metrics has tens of thousands of lines; as HTML they would take
seconds to open. Each name is stored once; lines refer to names by index.

Numbers link to their provenance. Identifiers of the link targets are numbered, not derived from
names, because a name may contain any character.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from lico_bench.report import formatting
from lico_bench.report.content import Block, Line, ReportContent
from lico_bench.report.figures.canvas import style_of


class Column(NamedTuple):
    """A column of the table.

    `kind`: `name` is an index into a list of names, `number` is text sorted by its value, `count`
    is an integer, `text` is not sortable.
    """

    key: str
    title: str
    kind: str
    is_paired: bool = False  # present only if arms are compared
    is_rare: bool = False  # present only if a line has a value
    is_detail: bool = False  # hidden unless all columns are shown


COLUMNS = (
    Column("dataset", "Dataset", "name"),
    Column("method", "Method", "name"),
    Column("score", "Score", "name"),
    Column("arm", "Arm", "name"),
    Column("reference", "Reference", "number", is_paired=True),
    Column("mean", "Mean", "number"),
    Column("difference", "Difference", "number", is_paired=True),
    Column("interval", "95 % interval", "text"),
    Column("effect", "Effect", "name", is_paired=True),
    Column("q_value", "q", "number", is_paired=True),
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
    Column("protocol", "Protocol", "name"),
    Column("models", "Models", "name"),
    Column("note", "Note", "text", is_rare=True),
)
SELECTS = ("dataset", "method", "score", "arm", "subset")


def result_tables(content: ReportContent) -> list[dict[str, Any]]:
    """Return one entry per block with its data and its scores by method."""
    return [_table(content, number, block) for number, block in enumerate(content.blocks)]


def _table(content: ReportContent, number: int, block: Block) -> dict[str, Any]:
    has_pairs = not block.differences.empty
    arms = [arm for arm in content.arms if not has_pairs or arm != content.reference_arm]
    return {
        "id": f"results-{number}",
        "title": block.title,
        "data": block.data,
        "backbone": block.backbone,
        "labels": block.labels,
        "is_standin": block.is_standin,
        "seeds": formatting.plural(block.num_seeds, "seed"),
        "has_pairs": has_pairs,
        "arms": [
            {
                "name": arm,
                "title": content.arm_title(arm),
                "colour": style_of(content, arm).colour,
                "models": models_id(content, block.setting, arm),
            }
            for arm in arms
        ],
        "models": models_id(content, block.setting),
        "groups": _groups(content, number),
    }


def _groups(content: ReportContent, block: int) -> list[dict[str, Any]]:
    """Return scores grouped by method; each score has one line per arm."""
    lines = content.result_lines(block)
    return [
        {
            "method": content.method_title(method),
            "is_control": content.is_control(method),
            "scores": [
                _score(content, list(score_lines))
                for _, score_lines in groupby(method_lines, key=lambda line: line.metric)
            ],
        }
        for method, method_lines in groupby(lines, key=lambda line: line.method)
    ]


def _score(content: ReportContent, lines: list[Line]) -> dict[str, Any]:
    first = lines[0]
    return {
        "title": first.score,
        "unit": first.unit,
        "rules": rules_id(content, first.protocol, first.metric),
        "by_arm": {line.arm: line for line in lines},
        "counts": _counts(lines),
    }


def _counts(lines: list[Line]) -> str:
    """Return images × seeds of a score as text; a range if the arms differ."""
    counts = []
    for name in ("num_images", "num_seeds"):
        values = [getattr(line, name) for line in lines]
        low, high = min(values), max(values)
        counts.append(f"{low:,}" if low == high else f"{low:,}–{high:,}")
    return " × ".join(counts)


def all_numbers(content: ReportContent) -> dict[str, Any]:
    """Return columns, names, and lines whose cells are texts, counts or indices of names."""
    columns = [column for column in COLUMNS if _is_used(column, content.lines)]
    names: dict[str, dict[tuple[Any, ...], int]] = {
        column.key: {} for column in columns if column.kind == "name"
    }

    def cell(column: Column, line: Line) -> Any:
        if column.kind != "name":
            return getattr(line, column.key)
        entry = _name(content, column.key, line)
        return names[column.key].setdefault(tuple(entry.items()), len(names[column.key]))

    lines = [[cell(column, line) for column in columns] for line in content.lines]
    return {
        "columns": [column._asdict() for column in columns],
        "selects": [key for key in SELECTS if len(names.get(key, ())) > 1],
        "names": {key: [dict(entry) for entry in entries] for key, entries in names.items()},
        "lines": lines,
    }


def _is_used(column: Column, lines: Sequence[Line]) -> bool:
    """Whether a column applies to this run."""
    if column.is_rare:
        return any(getattr(line, column.key) for line in lines)
    return not column.is_paired or any(line.difference for line in lines)


def _name(content: ReportContent, key: str, line: Line) -> dict[str, Any]:
    """Return a name as the page shows it: text, link target and style."""
    block = content.blocks[line.block]
    if key == "dataset":
        tag = formatting.STANDIN if block.is_standin else ""
        return {"text": content.setting_title(block), "tag": tag}
    if key == "method":
        return {"text": content.method_title(line.method), "faint": content.is_control(line.method)}
    if key == "score":
        return {
            "text": line.score,
            "unit": line.unit,
            "href": "#" + score_id(content, line.metric),
            "scale": 0.01 if line.is_percent else 1,
        }
    if key == "protocol":
        href = "#" + rules_id(content, line.protocol, line.metric)
        return {"text": line.protocol or "definition", "href": href}
    if key == "models":
        return {"text": "models", "href": "#" + models_id(content, block.setting, line.arm)}
    if key == "arm":
        return {"text": content.arm_title(line.arm)}
    if key == "effect":
        return {"text": line.effect, "class": line.effect.replace(" ", "-")}
    return {"text": str(getattr(line, key))}


def rules_id(content: ReportContent, protocol: str, metric: str) -> str:
    """Return the identifier of a score's protocol, or of its metric if it has no protocol."""
    if protocol in content.protocols:
        return f"protocol-{content.protocols.index(protocol)}"
    return score_id(content, metric) if metric in content.specs else "provenance"


def score_id(content: ReportContent, metric: str) -> str:
    """Return the identifier of a metric's definition."""
    return f"score-{list(content.specs).index(metric)}"


def models_id(content: ReportContent, setting: tuple[str, ...], arm: str | None = None) -> str:
    """Return the identifier of the trained models of a setting, or of one arm in it."""
    settings = [block.setting for block in content.blocks]
    if setting not in settings:
        return "models"
    name = f"models-{settings.index(setting)}"
    return f"{name}-{content.arms.index(arm)}" if arm in content.arms else name
