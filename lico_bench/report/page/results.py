"""The scores of each dataset as tables that stand in the page itself."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pandas as pd

from lico_bench.report import formatting
from lico_bench.report.content import BESIDE, SETTING, Block, ReportContent
from lico_bench.report.figures import colour_of
from lico_bench.report.page.anchors import Anchors
from lico_bench.report.page.lines import Line, each_line


def result_tables(content: ReportContent, anchors: Anchors) -> list[dict[str, Any]]:
    """One entry per block: what its data are, and its scores by method."""
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
    """Scores by method; each score holds its line of every arm."""
    requested = content.manifest["suite"].get("metrics", ())
    lines = [
        line
        for line in each_line(content, block, frame)
        if line.metric not in BESIDE or line.metric in requested
    ]
    return [
        {
            "method": content.method_title(method),
            "is_control": content.is_control(method),
            "scores": [
                _score(anchors, list(of_score))
                for _, of_score in groupby(of_method, key=lambda line: line.metric)
            ],
        }
        for method, of_method in groupby(lines, key=lambda line: line.method)
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
    """Images and seeds behind a score; a range where the arms differ."""
    message = []
    for name in ("num_images", "num_seeds"):
        found = [getattr(line, name) for line in lines]
        low, high = min(found), max(found)
        message.append(f"{low:,}" if low == high else f"{low:,}–{high:,}")
    return " × ".join(message)
