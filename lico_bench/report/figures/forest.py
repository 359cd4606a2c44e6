"""Forest plots of paired differences, with one line per metric, dataset and arm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.claims import Claim
from lico_bench.report import formatting
from lico_bench.report.content import ReportContent
from lico_bench.report.figures.canvas import (
    Axes,
    Figure,
    Plot,
    block_title,
    save_plot,
    set_figure_title,
    style_of,
)

PERCENT = "percentage points"
LINE_IN = 0.21  # height of a line
MAX_LINES = 45  # per sheet, as many as fit on a page
MAX_SHEETS = 3  # per method and unit
LEFT_IN, RIGHT_IN, TOP_IN, BOTTOM_IN, WIDTH_IN = 2.9, 0.15, 0.35, 0.85, 7.2
BAND_COLOUR = "#dfe3e8"
MAX_LABEL_CHARS = 52


def draw_forests(content: ReportContent) -> Iterator[Plot]:
    """Draw paired differences of metrics with a direction; right of zero the arm is better.

    One plot per method and unit over all datasets, split into sheets that fit on a page.
    """
    metrics = [
        name
        for name, spec in content.specs.items()
        if spec.higher_is_better is not None and not content.is_auxiliary(name)
    ]
    for method in ("", *(name for name in content.methods() if not content.is_control(name))):
        rows = pd.concat(
            [
                block.differences[block.differences["method"] == method].assign(
                    title=block_title(block), key=block.key
                )
                for block in content.blocks
            ]
        )
        rows = rows[rows["metric"].isin(metrics) & np.isfinite(rows["difference"].astype(float))]
        # Sort by metric, so that its datasets are listed below each other.
        rows = rows.assign(order=rows["metric"].map(metrics.index)).sort_values(
            "order", kind="stable"
        )
        units = {name: _unit(content, name) for name in rows["metric"].unique()}
        for unit in dict.fromkeys(units.values()):
            yield from _draw_sheets(content, method, unit, rows[rows["metric"].map(units) == unit])


def _draw_sheets(
    content: ReportContent, method: str, unit: str, rows: pd.DataFrame
) -> Iterator[Plot]:
    sheets: list[list[pd.DataFrame]] = [[]]
    for _, metric_rows in rows.groupby("order"):
        for start in range(0, len(metric_rows), MAX_LINES):
            group = metric_rows.iloc[start : start + MAX_LINES]
            if sheets[-1] and sum(map(len, sheets[-1])) + len(group) > MAX_LINES:
                sheets.append([])
            sheets[-1].append(group)
    shown = sheets[:MAX_SHEETS]
    num_omitted = sum(len(group) for sheet in sheets[MAX_SHEETS:] for group in sheet)
    for number, sheet in enumerate(shown, start=1):
        part_of = f", sheet {number} of {len(shown)}" if len(shown) > 1 else ""
        yield _draw_sheet(content, method, unit, sheet, number, part_of, num_omitted)


def _draw_sheet(
    content: ReportContent, method: str, unit: str, groups: list[pd.DataFrame], number: int,
    part_of: str, num_omitted: int,
) -> Plot:  # fmt: skip
    num_lines = sum(len(group) + 1 for group in groups)
    size = (WIDTH_IN, TOP_IN + LINE_IN * num_lines + BOTTOM_IN)
    figure = Figure(figsize=size)
    axes = figure.add_axes(
        (LEFT_IN / size[0], BOTTOM_IN / size[1], (size[0] - LEFT_IN - RIGHT_IN) / size[0],
         LINE_IN * num_lines / size[1])
    )  # fmt: skip
    axes.set_ylim(num_lines - 0.5, -0.5)  # the first line is at the top
    labels: list[str] = []
    for group in groups:
        spec = content.specs[group["metric"].iloc[0]]
        labels.append(formatting.title_with_arrow(spec))
        for _, row in group.iterrows():
            _draw_line(content, axes, len(labels), row, 100.0 if unit == PERCENT else 1.0)
            arm = f", {content.arm_title(row['arm'])}" if len(content.arms) > 2 else ""
            labels.append(f"{row['title']}{arm}")
    headings = {0, *np.cumsum([len(group) + 1 for group in groups[:-1]]).tolist()}
    _draw_labels(axes, labels, headings)
    axes.axvline(0, color="black", linewidth=1)
    limit = 1.08 * _largest_magnitude(pd.concat(groups)) * (100.0 if unit == PERCENT else 1.0)
    axes.set_xlim(-limit, limit)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(
        f"← worse      against {content.arm_title(content.reference_arm)}, {unit}      better →",
        labelpad=2,
    )
    _draw_legend(figure, has_band=bool(axes.patches))
    name = content.method_title(method) if method else "Model"
    title = f"{name}: paired differences, {unit}{part_of}"
    set_figure_title(figure, title)
    suffix = f"{_unit_suffix(unit)}{f'_{number}' if part_of else ''}"
    stem = f"forest_{formatting.file_stem(method)}{suffix}"
    return save_plot(figure, stem, kind="forest", title=title, caption=_caption(axes, num_omitted))


def _draw_line(
    content: ReportContent, axes: Axes, y: int, row: pd.Series[Any], scale: float
) -> None:
    sign = scale if content.specs[row["metric"]].higher_is_better else -scale
    style = style_of(content, row["arm"])
    effect = _smallest_effect(content, row)
    if effect is not None:
        axes.barh(
            y, 2 * scale * effect, left=-scale * effect, height=0.86, color=BAND_COLOUR, zorder=0
        )
    axes.plot(sign * np.array(row["per_seed"]), [y + 0.25] * len(row["per_seed"]), ".", ms=3.5,
              color=style.colour, alpha=0.6)  # fmt: skip
    if np.isfinite(row["low"]):
        axes.plot([sign * row["low"], sign * row["high"]], [y, y], color=style.colour, lw=1.7)
    is_significant = row["q_value"] < formatting.SIGNIFICANT
    axes.plot(sign * row["difference"], y, style.marker, ms=5.5, mew=1.3, color=style.colour,
              mfc=style.colour if is_significant else "white")  # fmt: skip


def _largest_magnitude(rows: pd.DataFrame) -> float:
    """Largest absolute value of all differences, interval ends and seeds."""
    numbers = [*rows["difference"], *rows["low"], *rows["high"], *rows["per_seed"].explode()]
    return max(1e-9, float(np.nanmax(np.abs(np.array(numbers, dtype=float)))))


def _smallest_effect(content: ReportContent, row: pd.Series[Any]) -> float | None:
    """Smallest effect of interest that a claim declares for this difference."""
    claims = (verdict.claim for verdict in content.claims)
    return next((claim.smallest_effect for claim in claims if _covers(claim, row)), None)


def _covers(claim: Claim, row: pd.Series[Any]) -> bool:
    is_method_covered = row["method"] in claim.methods if claim.methods else not row["method"]
    return (
        is_method_covered
        and (claim.arm, claim.reference_arm) == (row["arm"], row["reference_arm"])
        and claim.metric == row["metric"]
        and (not claim.datasets or row["dataset"] in claim.datasets)
        and (not claim.labels or row["labels"] in claim.labels)
    )


def _draw_labels(axes: Axes, labels: list[str], headings: set[int]) -> None:
    """Draw the labels of the lines, those of the metrics larger.

    Texts are cheaper than ticks. Headings are not bold because embedding a second font takes
    longer than drawing the rest of the plot.
    """
    axes.set_yticks([])
    lines = [y for y in range(len(labels)) if y not in headings]
    axes.hlines(lines, 0, 1, transform=axes.get_yaxis_transform(), color="#000", alpha=0.07, lw=0.6)
    for y, text in enumerate(labels):
        is_heading = y in headings
        axes.text(
            -0.01, y, formatting.truncated(text, MAX_LABEL_CHARS), va="center", ha="right",
            transform=axes.get_yaxis_transform(), fontsize=9 if is_heading else 7.5,
            parse_math=False,
        )  # fmt: skip


def _draw_legend(figure: Figure, *, has_band: bool) -> None:
    """Draw an explanation of the markers at the bottom of the figure."""
    text = "filled: false-discovery rate q < 0.05, hollow: not; small dots: single seeds"
    if has_band:
        text += "\ngrey: smaller than the smallest effect of interest that a claim declares"
    height = figure.get_size_inches()[1]
    figure.text(0.5, 0.05 / height, text, ha="center", va="bottom", fontsize=7.5, linespacing=1.3)


def _caption(axes: Axes, num_omitted: int) -> str:
    caption = (
        "Paired differences with 95 % intervals, with signs chosen so that right of zero is better "
        "for every metric. Filled markers: false-discovery rate q < 0.05 over all comparisons of "
        "the report; hollow: otherwise. Small dots: single seeds."
    )
    if axes.patches:
        caption += " Grey: differences below the smallest effect of interest that a claim declares."
    if num_omitted:
        caption += f" {num_omitted:,} further differences did not fit; see the tables."
    return caption


def _unit(content: ReportContent, metric: str) -> str:
    spec = content.specs[metric]
    return PERCENT if formatting.is_percent(spec) else spec.unit


def _unit_suffix(unit: str) -> str:
    """Suffix of the file name; empty for probabilities."""
    return {"probability": "", PERCENT: "_shares"}.get(unit, f"_{formatting.file_stem(unit)}")
