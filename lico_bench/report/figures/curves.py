"""Insertion and deletion curves of every arm, with bands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.report import wording
from lico_bench.report.content import Block, Content
from lico_bench.report.figures.canvas import (
    Axes,
    Figure,
    Plot,
    colour_of,
    loud_title,
    save_plot,
    style_of,
)
from lico_bench.stats import two_level

GREY = "#6b6b6b"
CURVE_RESAMPLES = 100  # the means and standard errors used here need no draws
Z_95 = 1.96


def draw_curves(content: Content, block: Block, curves: pd.DataFrame) -> Iterator[Plot]:
    """Both curves of every method that is no control; controls are drawn thin behind it."""
    methods = [name for name in content.methods() if name in set(curves["method"])]
    controls = [name for name in methods if content.is_control(name)]
    for method in [name for name in methods if name not in controls] or methods:
        figure = Figure(figsize=(7.2, 3.2))
        for axes, kind in zip(
            figure.subplots(1, 2, sharey=True), ("insertion", "deletion"), strict=True
        ):
            part = curves[curves["curve"] == kind]
            for control in controls:
                _control_line(content, axes, part[part["method"] == control], control)
            for arm in content.arms:
                _band(content, axes, part[(part["method"] == method) & (part["arm"] == arm)], arm)
            axes.set_title(f"{kind.capitalize()} {'↑' if kind == 'insertion' else '↓'}")
            axes.set_xlabel("share of pixels changed")
            axes.set_xlim(0, 1)
            axes.set_ylim(bottom=0)
        figure.axes[0].set_ylabel("probability of the class")
        figure.axes[1].legend(loc="best")
        title = f"{loud_title(block)}: {content.method_title(method)} curves"
        figure.suptitle(title, fontsize=10)
        caption = (
            "Mean probability as pixels appear (insertion) or vanish (deletion), "
            "most salient first. Thick: mean over seeds, its band the 95 % interval over test "
            "images; thin: single trainings. "
            + ("Grey: a control that knows nothing of the model." if controls else "")
        )
        yield save_plot(
            figure,
            f"curves_{block.key}_{wording.file_stem(method)}",
            kind="curves",
            title=title,
            caption=caption.strip(),
        )


def _band(content: Content, axes: Axes, part: pd.DataFrame, arm: str) -> None:
    if part.empty:
        return
    found = two_level(_stack(part), resamples=CURVE_RESAMPLES)
    fractions = np.asarray(part["fractions"].iloc[0], dtype=float)
    colour = colour_of(content, arm)
    style = style_of(content, arm)
    axes.plot(fractions, found.mean, style, color=colour, lw=1.8, label=content.arm_title(arm))
    # Point by point, an interval over two or three seeds jumps from nothing to everything; the
    # seeds are shown as they are instead.
    if len(found.per_seed) > 1:
        axes.plot(fractions, found.per_seed.T, style, color=colour, lw=0.6, alpha=0.7)
    if np.isfinite(found.image_part).all():
        low, high = ((found.mean + side * Z_95 * found.image_part).clip(0, 1) for side in (-1, 1))
        axes.fill_between(fractions, low, high, color=colour, alpha=0.18, linewidth=0)


def _control_line(content: Content, axes: Axes, part: pd.DataFrame, control: str) -> None:
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
