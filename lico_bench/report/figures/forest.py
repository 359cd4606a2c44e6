"""Paired differences as a forest plot: one line per metric, dataset and arm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.claims import Claim
from lico_bench.report import formatting
from lico_bench.report.content import BESIDE, ReportContent
from lico_bench.report.figures.canvas import (
    Axes,
    Figure,
    Plot,
    colour_of,
    loud_title,
    marker_of,
    save_plot,
    title_of,
)

PERCENT = "percentage points"
LINE_IN = 0.21  # of height for each line
MOST_LINES = 45  # on one sheet, as many as a page holds
MOST_SHEETS = 3  # for one method and unit
LEFT_IN, RIGHT_IN, HEAD_IN, FOOT_IN, WIDTH_IN = 2.9, 0.15, 0.35, 0.85, 7.2
BAND = "#dfe3e8"


def draw_forests(content: ReportContent) -> Iterator[Plot]:
    """Paired differences of metrics with a direction, right of zero where the arm is better.

    One plot for each method and unit, over all datasets, cut into sheets that fit on a page.
    """
    requested = content.manifest["suite"].get("metrics", ())
    merits = [
        name
        for name, spec in content.specs.items()
        if spec.higher_is_better is not None and (name not in BESIDE or name in requested)
    ]
    for method in ("", *(name for name in content.methods() if not content.is_control(name))):
        rows = pd.concat(
            [
                block.differences[block.differences["method"] == method].assign(
                    title=loud_title(block), key=block.key
                )
                for block in content.blocks
            ]
        )
        rows = rows[rows["metric"].isin(merits) & np.isfinite(rows["difference"].astype(float))]
        # Metric by metric, so that the datasets stand below each other.
        rows = rows.assign(order=rows["metric"].map(merits.index)).sort_values(
            "order", kind="stable"
        )
        units = {name: _unit(content, name) for name in rows["metric"].unique()}
        for unit in dict.fromkeys(units.values()):
            same = rows[rows["metric"].map(units) == unit]
            yield from _sheets(content, method, unit, same)


def _sheets(content: ReportContent, method: str, unit: str, rows: pd.DataFrame) -> Iterator[Plot]:
    groups = [part for _, part in rows.groupby("order")]
    sheets: list[list[pd.DataFrame]] = [[]]
    for part in groups:
        for start in range(0, len(part), MOST_LINES):
            piece = part.iloc[start : start + MOST_LINES]
            if sheets[-1] and sum(map(len, sheets[-1])) + len(piece) > MOST_LINES:
                sheets.append([])
            sheets[-1].append(piece)
    shown = sheets[:MOST_SHEETS]
    left_out = sum(len(piece) for sheet in sheets[MOST_SHEETS:] for piece in sheet)
    for number, sheet in enumerate(shown, start=1):
        part_of = f", sheet {number} of {len(shown)}" if len(shown) > 1 else ""
        yield _forest(content, method, unit, sheet, number, part_of, left_out)


def _forest(
    content: ReportContent, method: str, unit: str, pieces: list[pd.DataFrame], number: int,
    part_of: str, left_out: int,
) -> Plot:  # fmt: skip
    num_lines = sum(len(piece) + 1 for piece in pieces)
    size = (WIDTH_IN, HEAD_IN + LINE_IN * num_lines + FOOT_IN)
    figure = Figure(figsize=size)
    axes = figure.add_axes(
        (LEFT_IN / size[0], FOOT_IN / size[1], (size[0] - LEFT_IN - RIGHT_IN) / size[0],
         LINE_IN * num_lines / size[1])
    )  # fmt: skip
    axes.set_ylim(num_lines - 0.5, -0.5)  # the first line on top
    place = 0
    labels: list[str] = []
    for piece in pieces:
        spec = content.specs[piece["metric"].iloc[0]]
        labels.append(formatting.title_with_arrow(spec))
        place += 1
        for _, row in piece.iterrows():
            _forest_line(content, axes, place, row, 100.0 if unit == PERCENT else 1.0)
            arm = f", {content.arm_title(row['arm'])}" if len(content.arms) > 2 else ""
            labels.append(f"{row['title']}{arm}")
            place += 1
    _label(axes, labels, {0, *np.cumsum([len(piece) + 1 for piece in pieces[:-1]]).tolist()})
    axes.axvline(0, color="black", linewidth=1)
    reach = 1.08 * _reach(pd.concat(pieces)) * (100.0 if unit == PERCENT else 1.0)
    axes.set_xlim(-reach, reach)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(
        f"← worse      against {content.arm_title(content.reference_arm)}, {unit}      better →",
        labelpad=2,
    )
    _legend(figure, has_band=bool(axes.patches))
    name = content.method_title(method) if method else "Model"
    title = f"{name}: paired differences, {unit}{part_of}"
    title_of(figure, title)
    stem = f"forest_{formatting.file_stem(method)}{_suffix(unit)}{f'_{number}' if part_of else ''}"
    return save_plot(figure, stem, kind="forest", title=title, caption=_caption(axes, left_out))


def _forest_line(
    content: ReportContent, axes: Axes, place: int, row: pd.Series[Any], scale: float
) -> None:
    sign = scale if content.specs[row["metric"]].higher_is_better else -scale
    colour = colour_of(content, row["arm"])
    effect = _smallest_effect(content, row)
    if effect is not None:
        axes.barh(
            place, 2 * scale * effect, left=-scale * effect, height=0.86, color=BAND, zorder=0
        )
    axes.plot(sign * np.array(row["per_seed"]), [place + 0.25] * len(row["per_seed"]), ".", ms=3.5,
              color=colour, alpha=0.6)  # fmt: skip
    if np.isfinite(row["low"]):
        axes.plot([sign * row["low"], sign * row["high"]], [place, place], color=colour, lw=1.7)
    is_significant = row["p_holm"] < formatting.SIGNIFICANT
    axes.plot(sign * row["difference"], place, marker_of(content, row["arm"]), ms=5.5, mew=1.3,
              color=colour, mfc=colour if is_significant else "white")  # fmt: skip


def _reach(rows: pd.DataFrame) -> float:
    """The farthest that anything but a band lies from zero."""
    numbers = [*rows["difference"], *rows["low"], *rows["high"], *rows["per_seed"].explode()]
    return max(1e-9, float(np.nanmax(np.abs(np.array(numbers, dtype=float)))))


def _smallest_effect(content: ReportContent, row: pd.Series[Any]) -> float | None:
    """The smallest effect of interest that a claim declares for this difference."""
    declared = (verdict.claim for verdict in content.claims)
    return next((claim.smallest_effect for claim in declared if _speaks_of(claim, row)), None)


def _speaks_of(claim: Claim, row: pd.Series[Any]) -> bool:
    of_method = row["method"] in claim.methods if claim.methods else not row["method"]
    return (
        of_method
        and (claim.arm, claim.reference_arm) == (row["arm"], row["reference_arm"])
        and claim.metric == row["metric"]
        and (not claim.datasets or row["dataset"] in claim.datasets)
        and (not claim.labels or row["labels"] in claim.labels)
    )


def _label(axes: Axes, labels: list[str], headings: set[int]) -> None:
    """Names of the lines, those of the metrics larger; as texts, which cost less than ticks.

    Not bold: embedding a second font takes longer than drawing the rest of the plot.
    """
    axes.set_yticks([])
    lines = [place for place in range(len(labels)) if place not in headings]
    axes.hlines(lines, 0, 1, transform=axes.get_yaxis_transform(), color="#000", alpha=0.07, lw=0.6)
    for place, text in enumerate(labels):
        is_heading = place in headings
        axes.text(
            -0.01, place, _short(text), transform=axes.get_yaxis_transform(), va="center",
            ha="right", fontsize=9 if is_heading else 7.5, parse_math=False,
        )  # fmt: skip


def _legend(figure: Figure, *, has_band: bool) -> None:
    """What the markers mean, in words at the foot."""
    message = "filled: significant after Holm's correction, hollow: not; small dots: single seeds"
    if has_band:
        message += "\ngrey: smaller than the smallest effect of interest that a claim declares"
    height = figure.get_size_inches()[1]
    figure.text(
        0.5, 0.05 / height, message, ha="center", va="bottom", fontsize=7.5, linespacing=1.3
    )


def _caption(axes: Axes, left_out: int) -> str:
    caption = (
        "Paired differences with 95 % intervals, turned so that right of zero is better whatever "
        "the metric's direction. Filled where p < 0.05 after Holm's correction over all that the "
        "report compares, hollow otherwise. Small dots: one seed each."
    )
    if axes.patches:
        caption += " Grey: differences below the smallest effect of interest that a claim declares."
    if left_out:
        caption += f" {left_out:,} further differences did not fit and stand in the tables alone."
    return caption


def _unit(content: ReportContent, metric: str) -> str:
    spec = content.specs[metric]
    return PERCENT if formatting.is_percent(spec) else spec.unit


def _suffix(unit: str) -> str:
    """Of the file's name; probabilities have none."""
    return {"probability": "", PERCENT: "_shares"}.get(unit, f"_{formatting.file_stem(unit)}")


def _short(text: str) -> str:
    return text if len(text) <= 52 else f"{text[:51]}…"
