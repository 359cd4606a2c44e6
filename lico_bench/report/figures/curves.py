"""Curves of a dataset: insertion and deletion, the cascade of the sanity check, and training."""

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
    arm_by_cell,
    block_title,
    ensure_y_span,
    panel_grid,
    present,
    save_panels,
    set_few_y_ticks,
    set_integer_x_ticks,
    set_log_y_axis,
    style_of,
)
from lico_bench.stats import two_level
from lico_bench.stats.sanity import THRESHOLD

SANITY_COLUMNS = 4
LOW_PERCENTILE, HIGH_PERCENTILE = 25, 75  # of the band
CURVE_RESAMPLES = 100  # small: the means and standard errors used here need no resamples
Z_95 = 1.96
MAX_BANDED_ARMS = 4  # with more arms, bands and curves of single seeds overlap
FIRST_QUANTITIES = ("loss", "train_accuracy", "cross_entropy")
GRADIENT_NORM = "_gradient_norm"  # of a weighted loss term; these differ by orders of magnitude
SKIPPED_QUANTITIES = ("elapsed_s", "train_elapsed_s")  # properties of the machine, not of the model
TRAINING_COLUMNS = 3
MAX_QUANTITIES = 18
MAX_QUANTITIES_ONE_EPOCH = 3  # single points are not informative


def draw_curves(content: ReportContent, block: Block, curves: pd.DataFrame) -> Iterator[Plot]:
    """Draw both curves of every method; controls are drawn as thin dotted lines behind them.

    A control gets its own plot only if no other method has curves.
    """
    methods = present(content.methods(), curves["method"])
    controls = [name for name in methods if content.is_control(name)]
    for method in [name for name in methods if name not in controls] or methods:
        part = curves[curves["method"] == method]
        arms = present(content.arms, part["arm"])
        background = [name for name in controls if name != method]
        figure, (left, right) = panel_grid(
            2, columns=2, panel_in=(3.0, 2.3), left_in=0.5, footer_in=0.1,
            labels=[*map(content.method_title, background), *map(content.arm_title, arms)],
        )  # fmt: skip
        right.sharey(left)
        right.tick_params(labelleft=False)
        for axes, kind in ((left, "insertion"), (right, "deletion")):
            for control in background:
                selected = (curves["method"] == control) & (curves["curve"] == kind)
                _draw_control(content, axes, curves[selected], control)
            for arm in arms:
                selected = (part["arm"] == arm) & (part["curve"] == kind)
                _draw_arm(content, axes, part[selected], arm, mean_only=len(arms) > MAX_BANDED_ARMS)
            axes.set_title(f"{kind.capitalize()} {'↑' if kind == 'insertion' else '↓'}")
            axes.set_xlabel("share of pixels changed", labelpad=2)
            axes.set_xlim(0, 1)
            axes.set_ylim(bottom=0)
        left.set_ylabel("probability of the class")
        yield save_panels(
            figure,
            [left, right],
            f"curves_{block.key}_{formatting.file_stem(method)}",
            kind="curves",
            title=f"{block_title(block)}: {content.method_title(method)} curves",
            caption=_caption(has_bands=len(arms) <= MAX_BANDED_ARMS, has_controls=bool(background)),
        )


def _caption(*, has_bands: bool, has_controls: bool) -> str:
    lines = (
        "Thick line: mean over seeds; band: 95 % interval over test images; thin lines: single "
        "seeds."
        if has_bands
        else "Lines are means over seeds; with this many arms, see the tables for intervals."
    )
    caption = (
        "Mean probability of the class as pixels are inserted or deleted, most salient first. "
        f"{lines}"
    )
    return caption + (" Grey: a control that does not use the model." if has_controls else "")


def _draw_arm(
    content: ReportContent, axes: Axes, part: pd.DataFrame, arm: str, *, mean_only: bool
) -> None:
    """Draw the mean curve of an arm and, unless `mean_only`, its band and single seeds."""
    if part.empty:
        return
    estimate = two_level(_stack(part), resamples=CURVE_RESAMPLES)
    fractions = np.asarray(part["fractions"].iloc[0], dtype=float)
    colour, style, _ = style_of(content, arm)
    axes.plot(fractions, estimate.mean, style, color=colour, lw=1.8, label=content.arm_title(arm))
    if mean_only:
        return
    # A pointwise interval over two or three seeds is unstable; draw the seeds instead.
    if len(estimate.per_seed) > 1:
        axes.plot(fractions, estimate.per_seed.T, style, color=colour, lw=0.6, alpha=0.7)
    if np.isfinite(estimate.image_part).all():
        low, high = (
            (estimate.mean + side * Z_95 * estimate.image_part).clip(0, 1) for side in (-1, 1)
        )
        axes.fill_between(fractions, low, high, color=colour, alpha=0.18, linewidth=0)


def _draw_control(content: ReportContent, axes: Axes, part: pd.DataFrame, control: str) -> None:
    part = part[part["arm"] == content.reference_arm]
    if not part.empty:
        mean = np.stack(list(part["values"])).mean(0)
        fractions = np.asarray(part["fractions"].iloc[0], dtype=float)
        axes.plot(fractions, mean, ":", color=GREY, lw=1.2, label=content.method_title(control))


def _stack(part: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Arrange the curves of one arm and method as (S, I, K + 1), NaN where missing."""
    values = np.stack(list(part["values"])).astype(np.float64)
    seeds, seed_levels = pd.factorize(part["seed"])
    images, image_levels = pd.factorize(part["image_id"])
    stacked = np.full((len(seed_levels), len(image_levels), values.shape[1]), np.nan)
    stacked[seeds, images] = values
    return stacked


def draw_sanity(content: ReportContent, block: Block, cascades: pd.DataFrame) -> Iterator[Plot]:
    """Draw the absolute similarity to the trained network's map over the stages of randomisation.

    Args:
        cascades: rows of `records.CURVE_COLUMNS` whose curve is `cascade`; if empty, nothing is
            drawn.
    """
    methods = present(content.methods(), cascades["method"])
    if not methods:
        return
    arms = present(content.arms, cascades["arm"])
    figure, grid = panel_grid(
        len(methods), columns=SANITY_COLUMNS, panel_in=(1.7, 1.4), left_in=0.42, bottom_in=0.45,
        footer_in=0.15, labels=list(map(content.arm_title, arms)),
    )  # fmt: skip
    columns = min(SANITY_COLUMNS, len(methods))
    for axes, method in zip(grid, methods, strict=True):
        part = cascades[cascades["method"] == method]
        axes.axhline(THRESHOLD, color=GREY, lw=0.8, ls=":")
        for arm in arms:
            _draw_cascade(content, axes, part[part["arm"] == arm], arm)
        control = " (control)" if content.is_control(method) else ""
        axes.set_title(f"{content.method_title(method)}{control}", fontsize=8.5)
        axes.set_ylim(-0.03, 1.05)
        axes.tick_params(labelleft=axes in grid[::columns])
    for axes in grid[::columns]:
        axes.set_ylabel("size of the rank\ncorrelation", fontsize=8)
    _label_stages(grid, columns, len(cascades["fractions"].iloc[0]) - 1)
    caption = (
        "Absolute rank correlation between the map of the trained network and the map after its "
        "layers are re-initialised, stage by stage from the output to the input. Line: mean over "
        "images and seeds; band: interquartile range. Above the dotted line, a method does not "
        "depend on the trained weights. A control stays at 1."
    )
    title = f"{block_title(block)}: sanity check"
    name = f"sanity_{block.key}"
    yield save_panels(figure, grid, name, kind="sanity", title=title, caption=caption)


def _draw_cascade(content: ReportContent, axes: Axes, part: pd.DataFrame, arm: str) -> None:
    if part.empty:
        return
    values = np.abs(np.stack([np.asarray(each, dtype=np.float64) for each in part["values"]]))
    fractions = np.asarray(part["fractions"].iloc[0], dtype=float)
    colour, style, _ = style_of(content, arm)
    low, high = np.percentile(values, (LOW_PERCENTILE, HIGH_PERCENTILE), axis=0)
    axes.fill_between(fractions, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(fractions, values.mean(0), style, color=colour, lw=1.6,
              marker="o", ms=3, label=content.arm_title(arm))  # fmt: skip


def _label_stages(grid: Any, columns: int, num_stages: int) -> None:
    """Label each stage; stage 1 randomises the output layer, the last one the whole network."""
    names = ["none", "head", *(str(number) for number in range(2, num_stages)), "all"]
    names = names if num_stages > 1 else ["none", "all"]
    for axes in grid:
        axes.set_xticks(
            np.linspace(0, 1, num_stages + 1), names, fontsize=7, rotation=40, ha="right",
            rotation_mode="anchor",
        )  # fmt: skip
        axes.tick_params(axis="y", labelsize=8)
    for axes in grid[-columns:]:  # the lowest panel of each column
        axes.set_xlabel("randomised, output first", fontsize=8, labelpad=1)


def draw_training(content: ReportContent, block: Block, history: pd.DataFrame) -> Iterator[Plot]:
    """Draw each recorded quantity over the epochs, one line per model."""
    cells = arm_by_cell(content, block)
    part = history[history["cell"].isin(cells) & ~history["quantity"].isin(SKIPPED_QUANTITIES)]
    recorded = sorted(part["quantity"].unique(), key=_sort_key)
    if not recorded:
        return
    has_curves = part["epoch"].nunique() > 1
    quantities = recorded[: MAX_QUANTITIES if has_curves else MAX_QUANTITIES_ONE_EPOCH]
    arms = [arm for arm in content.arms if arm in set(cells.values())]
    figure, grid = panel_grid(
        len(quantities),
        columns=TRAINING_COLUMNS,
        panel_in=(1.9, 1.15),
        footer_in=0.1,
        labels=list(map(content.arm_title, arms)),
    )
    for axes, quantity in zip(grid, quantities, strict=True):
        _draw_quantity(content, axes, part[part["quantity"] == quantity], cells)
        axes.set_title(quantity.replace("_", " "), fontsize=8.5)
        if quantity.endswith(GRADIENT_NORM):
            set_log_y_axis(axes)
        else:
            set_few_y_ticks(axes)
            low, high = axes.get_ylim()
            ensure_y_span(axes, max(abs(low), abs(high)))
        set_integer_x_ticks(axes)
    for axes in grid[-TRAINING_COLUMNS:]:
        axes.set_xlabel("epoch", fontsize=8, labelpad=1)
    yield save_panels(
        figure,
        grid,
        f"training_{block.key}",
        kind="training",
        title=f"{block_title(block)}: training",
        caption=_training_caption(len(quantities), len(recorded)),
    )


def _training_caption(num_shown: int, num_recorded: int) -> str:
    caption = "Quantities recorded during training, by epoch; one line per model."
    if num_shown == num_recorded:
        return (
            f"{caption} Gradient norms are those of each weighted loss term on the backbone. "
            "Channel cosine and effective rank measure the similarity of an image's channel maps "
            "(both are 1 if all channels are identical)."
        )
    return (
        f"{caption} {num_shown} of {num_recorded} quantities are shown; the others are in the "
        "history.parquet files of the models."
    )


def _sort_key(quantity: str) -> tuple[int, str]:
    """Order losses first, then other quantities, gradient norms and the learning rate."""
    if quantity in FIRST_QUANTITIES:
        return 0, str(FIRST_QUANTITIES.index(quantity))
    if quantity.endswith(GRADIENT_NORM):
        return 2, quantity
    return (3 if quantity == "learning_rate" else 1), quantity


def _draw_quantity(
    content: ReportContent, axes: Axes, part: pd.DataFrame, cells: dict[str, str]
) -> None:
    labelled: set[str] = set()
    for cell, rows in part.groupby("cell", sort=False):
        arm = cells[str(cell)]
        colour, style, _ = style_of(content, arm)
        label = None if arm in labelled else content.arm_title(arm)
        marker = "o" if len(rows) == 1 else ""
        axes.plot(rows["epoch"], rows["value"], style, color=colour, lw=1.3,
                  marker=marker, ms=3, label=label)  # fmt: skip
        labelled.add(arm)
