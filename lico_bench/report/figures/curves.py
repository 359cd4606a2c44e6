"""Insertion and deletion curves of every arm, with bands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.figures.canvas import (
    GREY,
    Axes,
    Plot,
    colour_of,
    legend_of,
    loud_title,
    panel_grid,
    save_plot,
    style_of,
    title_of,
)
from lico_bench.stats import two_level

CURVE_RESAMPLES = 100  # the means and standard errors used here need no draws
Z_95 = 1.96
BANDED_ARMS = 4  # with more, bands and single trainings hide each other


def draw_curves(content: ReportContent, block: Block, curves: pd.DataFrame) -> Iterator[Plot]:
    """Both curves of every method that is no control; controls are drawn thin behind it."""
    found = set(curves["method"].unique())
    methods = [name for name in content.methods() if name in found]
    controls = [name for name in methods if content.is_control(name)]
    for method in [name for name in methods if name not in controls] or methods:
        part = curves[curves["method"] == method]
        present = set(part["arm"].unique())
        arms = [arm for arm in content.arms if arm in present]
        behind = [name for name in controls if name != method]
        figure, (left, right) = panel_grid(
            2, columns=2, panel_in=(3.0, 2.3), left_in=0.5, below_in=0.1,
            labels=[*map(content.method_title, behind), *map(content.arm_title, arms)],
        )  # fmt: skip
        right.sharey(left)
        right.tick_params(labelleft=False)
        for axes, kind in ((left, "insertion"), (right, "deletion")):
            for control in behind:
                same = (curves["method"] == control) & (curves["curve"] == kind)
                _control_line(content, axes, curves[same], control)
            for arm in arms:
                same = (part["arm"] == arm) & (part["curve"] == kind)
                _band(content, axes, part[same], arm, is_alone=len(arms) > BANDED_ARMS)
            axes.set_title(f"{kind.capitalize()} {'↑' if kind == 'insertion' else '↓'}")
            axes.set_xlabel("share of pixels changed", labelpad=2)
            axes.set_xlim(0, 1)
            axes.set_ylim(bottom=0)
        left.set_ylabel("probability of the class")
        legend_of(figure, [left, right])
        title = f"{loud_title(block)}: {content.method_title(method)} curves"
        title_of(figure, title)
        yield save_plot(
            figure,
            f"curves_{block.key}_{formatting.file_stem(method)}",
            kind="curves",
            title=title,
            caption=_caption(has_bands=len(arms) <= BANDED_ARMS, has_controls=bool(behind)),
        )


def _caption(*, has_bands: bool, has_controls: bool) -> str:
    lines = (
        "Thick: mean over seeds, its band the 95 % interval over test images; thin: single "
        "trainings."
        if has_bands
        else "Lines are means over seeds; with so many arms, intervals are in the tables only."
    )
    caption = (
        "Mean probability as pixels appear (insertion) or vanish (deletion), most salient first. "
        f"{lines}"
    )
    return caption + (" Grey: a control that knows nothing of the model." if has_controls else "")


def _band(
    content: ReportContent, axes: Axes, part: pd.DataFrame, arm: str, *, is_alone: bool
) -> None:
    """The mean curve of an arm, with its band and trainings unless it `is_alone`."""
    if part.empty:
        return
    found = two_level(_stack(part), resamples=CURVE_RESAMPLES)
    fractions = np.asarray(part["fractions"].iloc[0], dtype=float)
    colour = colour_of(content, arm)
    style = style_of(content, arm)
    axes.plot(fractions, found.mean, style, color=colour, lw=1.8, label=content.arm_title(arm))
    if is_alone:
        return
    # Point by point, an interval over two or three seeds jumps from nothing to everything; the
    # seeds are shown as they are instead.
    if len(found.per_seed) > 1:
        axes.plot(fractions, found.per_seed.T, style, color=colour, lw=0.6, alpha=0.7)
    if np.isfinite(found.image_part).all():
        low, high = ((found.mean + side * Z_95 * found.image_part).clip(0, 1) for side in (-1, 1))
        axes.fill_between(fractions, low, high, color=colour, alpha=0.18, linewidth=0)


def _control_line(content: ReportContent, axes: Axes, part: pd.DataFrame, control: str) -> None:
    part = part[part["arm"] == content.reference_arm]
    if not part.empty:
        mean = np.stack(list(part["values"])).mean(0)
        fractions = np.asarray(part["fractions"].iloc[0], dtype=float)
        axes.plot(fractions, mean, ":", color=GREY, lw=1.2, label=content.method_title(control))


def _stack(part: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Curves of one arm and method as (S, I, K + 1)."""
    values = np.stack(list(part["values"])).astype(np.float64)
    seeds, num_seeds = _numbers(part["seed"])
    images, num_images = _numbers(part["image_id"])
    out = np.full((num_seeds, num_images, values.shape[1]), np.nan)
    out[seeds, images] = values
    return out


def _numbers(column: pd.Series[Any]) -> tuple[np.ndarray[Any, Any], int]:
    codes, levels = pd.factorize(column)
    return codes, len(levels)
