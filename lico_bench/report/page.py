"""The HTML page: one file, pictures inlined, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lico_bench.records import MetricSpec
from lico_bench.report import wording
from lico_bench.report.content import Block, Content
from lico_bench.report.figures import Plot, colour_of, heat_png, pictures
from lico_bench.stats import calibration_errors

TEMPLATE = "page.html.j2"
BAR_WIDTH = 120  # of the drawn intervals, in units of their view box
GALLERY_PICTURES = 8


def render_page(content: Content, plots: Sequence[Plot], tables: Sequence[str]) -> str:
    """The page as text; `tables` are the stems of the LaTeX tables beside it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    blocks = [_block(content, block) for block in content.blocks]
    return environment.get_template(TEMPLATE).render(
        suite=content.manifest["suite"],
        manifest=content.manifest,
        content=content,
        blocks=blocks,
        rows=[row for block in content.blocks for row in _all_rows(content, block)],
        has_pairs=len(content.arms) > 1,
        several_arms=len(content.arms) > 2,
        seeds=wording.seeds_sentence(min(block.num_seeds for block in content.blocks)),
        plots=[(plot, _data_uri(plot.png)) for plot in plots if plot.kind != "gallery"],
        gallery_plots=[plot.name for plot in plots if plot.kind == "gallery"],
        galleries=list(_galleries(content)),
        tables=tables,
        findings=content.run.findings(),
        calibration=_calibration(content),
        specs=[
            (spec, {True: "higher is better", False: "lower is better", None: "no direction"})
            for spec in content.specs.values()
        ],
        standin=wording.STANDIN,
        bar_width=BAR_WIDTH,
    )


def _block(content: Content, block: Block) -> dict[str, Any]:
    has_pairs = not block.differences.empty
    return {
        "key": block.key,
        "title": block.title,
        "data": block.data,
        "backbone": block.backbone,
        "labels": block.labels,
        "is_standin": block.is_standin,
        "seeds": wording.plural(block.num_seeds, "seed"),
        "has_pairs": has_pairs,
        "groups": list(_groups(content, block, block.differences if has_pairs else block.means)),
    }


def _groups(
    content: Content, block: Block, frame: pd.DataFrame
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Rows by method, in the order of the scores."""
    for title, rows in groupby(_rows(content, block, frame), key=lambda row: str(row["method"])):
        yield title, list(rows)


def _all_rows(content: Content, block: Block) -> Iterator[dict[str, Any]]:
    if block.differences.empty:
        yield from _rows(content, block, block.means)
    yield from _rows(content, block, block.differences)
    yield from _rows(content, block, block.both_correct, maps_only=True)


def _rows(
    content: Content, block: Block, frame: pd.DataFrame, *, maps_only: bool = False
) -> Iterator[dict[str, Any]]:
    reaches = _reaches(content, frame)
    for method, spec in content.each_score(block):
        if maps_only and not method:
            continue
        for _, row in frame[
            (frame["method"] == method) & (frame["metric"] == spec.name)
        ].iterrows():
            yield {
                "dataset": block.title,
                "is_standin": block.is_standin,
                "method": content.method_title(method),
                "is_control": content.is_control(method),
                "score": wording.title_with_arrow(spec),
                "arm": content.arm_title(row["arm"]),
                "colour": colour_of(content, row["arm"]),
                "protocol": row["protocol"] or "none",
                "num_images": int(row["num_images"]),
                "num_seeds": int(row["num_seeds"]),
                "num_skipped": int(row["num_skipped"]),
                "note": row["note"],
                "mean": wording.value(row["mean"], spec),
                **_numbers(row, spec, reaches[wording.is_percent(spec)]),
            }


def _numbers(row: pd.Series[Any], spec: MetricSpec, reach: float) -> dict[str, Any]:
    """The cells that differ between a difference and a mean."""
    parts = " and ".join(
        f"{wording.signed(row[part], spec, is_fine=wording.is_tiny(row[part])).lstrip('+')} "
        f"from {name}"
        for part, name in (("seed_part", "seeds"), ("image_part", "images"))
        if math.isfinite(row[part])
    )
    shared = {"parts": parts, "sort_mean": _sortable(row["mean"])}
    if "difference" not in row:
        interval = wording.mean_interval(row["low"], row["high"], spec)
        return shared | {"interval": interval, "subset": "all images"}
    told, interval = wording.difference(row["difference"], row["low"], row["high"], spec)
    return shared | {
        "reference": wording.value(row["mean_reference"], spec),
        "difference": told,
        "interval": interval,
        "word": wording.effect(row["low"], row["high"], spec),
        "per_seed": _per_seed(row["per_seed"], spec),
        "subset": "all images" if row["subset"] == "all" else "both correct",
        "bar": _bar(row, reach),
        "sort_reference": _sortable(row["mean_reference"]),
        "sort_difference": _sortable(row["difference"]),
    }


def _per_seed(numbers: Sequence[float], spec: MetricSpec) -> str:
    is_fine = wording.is_tiny(*numbers)
    return ", ".join(wording.signed(number, spec, is_fine=is_fine) for number in numbers)


def _reaches(content: Content, frame: pd.DataFrame) -> dict[bool, float]:
    """The farthest end of an interval, for shares and for probabilities: one scale for each."""
    reaches = {False: 1e-9, True: 1e-9}
    if "difference" in frame:
        for _, row in frame.iterrows():
            ends = [abs(row[end]) for end in ("low", "high", "difference")]
            kind = wording.is_percent(content.specs[row["metric"]])
            reaches[kind] = max([reaches[kind], *(end for end in ends if math.isfinite(end))])
    return reaches


def _bar(row: pd.Series[Any], reach: float) -> dict[str, float] | None:
    """Places of the ends and of the point on a line whose middle is zero."""
    if not math.isfinite(row["low"]):
        return None
    middle = BAR_WIDTH / 2
    scale = (middle - 4) / reach
    places = {name: middle + scale * row[name] for name in ("low", "high", "difference")}
    return {name: round(float(place), 1) for name, place in places.items()}


def _galleries(content: Content) -> Iterator[dict[str, Any]]:
    gallery = content.run.gallery()
    for block in content.blocks:
        for method in content.methods():
            rows = pictures(content, block, gallery, method)[:GALLERY_PICTURES]
            if rows and not content.is_control(method):
                yield {
                    "title": f"{block.title}, {content.method_title(method)}",
                    "is_standin": block.is_standin,
                    "pictures": [_picture(content, by_arm) for by_arm in rows],
                }


def _picture(content: Content, by_arm: dict[str, dict[str, Any]]) -> dict[str, Any]:
    first = by_arm[content.reference_arm]
    return {
        "id": first["image_id"],
        "label": first["label_name"],
        "image": _data_uri(first["image_png"]),
        "arms": [
            {
                "title": content.arm_title(arm),
                "predicted": by_arm[arm]["predicted_name"],
                "correct": bool(by_arm[arm]["correct"]),
                "heat": _data_uri(heat_png(by_arm[arm])),
            }
            for arm in content.arms
        ],
    }


def _sortable(number: float) -> str:
    return f"{number:.6f}" if math.isfinite(number) else ""


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _calibration(content: Content) -> dict[str, float]:
    """Calibration error of each finished cell."""
    errors = calibration_errors(content.rows)
    return dict(zip(errors["cell"], errors["calibration_error"], strict=True))
