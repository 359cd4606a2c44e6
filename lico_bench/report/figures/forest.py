"""Paired differences as a forest plot: one line per dataset and metric."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.report import wording
from lico_bench.report.content import Content
from lico_bench.report.figures.canvas import Axes, Figure, Plot, colour_of, loud_title, save_plot


def draw_forests(content: Content) -> Iterator[Plot]:
    """Paired differences of metrics with a direction, right of zero where the arm is better."""
    for method in ("", *(name for name in content.methods() if not content.is_control(name))):
        rows = pd.concat(
            [
                block.differences[block.differences["method"] == method].assign(
                    title=loud_title(block)
                )
                for block in content.blocks
            ]
        )
        merits = {name for name, spec in content.specs.items() if spec.higher_is_better is not None}
        rows = rows[rows["metric"].isin(merits) & np.isfinite(rows.get("difference", np.nan))]
        for is_percent in (False, True):
            part = rows[
                [wording.is_percent(content.specs[m]) == is_percent for m in rows["metric"]]
            ]
            if not part.empty:
                yield _forest(content, method, part, is_percent=is_percent)


def _forest(content: Content, method: str, rows: pd.DataFrame, *, is_percent: bool) -> Plot:
    figure = Figure(figsize=(7.2, 0.9 + 0.3 * len(rows)))
    axes = figure.subplots()
    labels = []
    for place, (_, row) in enumerate(rows.iterrows()):
        _forest_line(content, axes, place, row, 100.0 if is_percent else 1.0)
        arm = f" ({content.arm_title(row['arm'])})" if len(content.arms) > 2 else ""
        labels.append(f"{row['title']}: {content.specs[row['metric']].title}{arm}")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)  # the first line on top
    axes.axvline(0, color="black", linewidth=1)
    unit = "percentage points" if is_percent else "probability"
    axes.set_xlabel(
        f"← worse      against {content.arm_title(content.reference_arm)}, {unit}      better →"
    )
    title = content.method_title(method) if method else "Model"
    name = f"forest_{wording.file_stem(method)}{'_shares' if is_percent else ''}"
    caption = (
        "Paired differences with 95 % intervals, turned so that right of zero is better whatever "
        "the metric's direction. Small dots: one seed each."
    )
    return save_plot(
        figure, name, kind="forest", title=f"{title}: paired differences, {unit}", caption=caption
    )


def _forest_line(
    content: Content, axes: Axes, place: int, row: pd.Series[Any], scale: float
) -> None:
    sign = scale if content.specs[row["metric"]].higher_is_better else -scale
    colour = colour_of(content, row["arm"])
    if np.isfinite(row["low"]):
        axes.plot([sign * row["low"], sign * row["high"]], [place, place], color=colour, lw=2)
    axes.plot(sign * np.array(row["per_seed"]), [place + 0.22] * len(row["per_seed"]), ".", ms=4,
              color=colour, alpha=0.6)  # fmt: skip
    axes.plot(sign * row["difference"], place, "D", ms=5, color=colour)
