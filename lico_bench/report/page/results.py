"""Tables of the scores of each dataset, rendered as HTML."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pandas as pd

from lico_bench.report import formatting
from lico_bench.report.content import AUXILIARY_METRICS, SETTING, Block, ReportContent
from lico_bench.report.figures import colour_of
from lico_bench.report.page.anchors import Anchors
from lico_bench.report.page.lines import Line, each_line


def result_tables(content: ReportContent, anchors: Anchors) -> list[dict[str, Any]]:
    """Return one entry per block with its data and its scores by method."""
    return [_table(content, anchors, number, block) for number, block in enumerate(content.blocks)]


def _table(content: ReportContent, anchors: Anchors, number: int, block: Block) -> dict[str, Any]:
    has_pairs = not block.differences.empty
    frame = block.differences if has_pairs else block.means
    arms = [arm for arm in content.arms if not has_pairs or arm != content.reference_arm]
    setting = tuple(getattr(block, name) for name in SETTING)
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
                "colour": colour_of(content, arm),
                "models": anchors.models(setting, arm),
            }
            for arm in arms
        ],
        "models": anchors.models(setting),
        "groups": _groups(content, anchors, block, frame),
    }


def _groups(
    content: ReportContent, anchors: Anchors, block: Block, frame: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return scores grouped by method; each score has one line per arm."""
    requested = content.manifest.suite.metrics
    lines = [
        line
        for line in each_line(content, block, frame)
        if line.metric not in AUXILIARY_METRICS or line.metric in requested
    ]
    return [
        {
            "method": content.method_title(method),
            "is_control": content.is_control(method),
            "scores": [
                _score(anchors, list(score_lines))
                for _, score_lines in groupby(method_lines, key=lambda line: line.metric)
            ],
        }
        for method, method_lines in groupby(lines, key=lambda line: line.method)
    ]


def _score(anchors: Anchors, lines: list[Line]) -> dict[str, Any]:
    first = lines[0]
    return {
        "title": first.score,
        "unit": first.unit,
        "rules": anchors.rules(first.protocol, first.metric),
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
