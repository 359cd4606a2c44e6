"""Plots with one point per trained model: spread over seeds, map scores over accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.figures.canvas import (
    GREY,
    MIN_Y_SPAN,
    Axes,
    Plot,
    axis_scale,
    ensure_y_span,
    panel_grid,
    save_panels,
    set_few_y_ticks,
    set_panel_title,
    style_of,
)

ACCURACY = "accuracy"
MAIN_METRICS = ("overall", "insertion")  # in order of preference
SECONDARY_METRICS = ("pointing_game", "energy_pointing_game")
SHEET_WIDTH_IN = 7.6  # available for the panels
SHEET_ROWS = 4
SCATTER_COLUMNS = 3
MAX_JOINED_ARMS = 4  # with more arms, the joining lines hide the points


@dataclass(frozen=True)
class Score:
    """A metric to plot; an empty `method` means a score of the model itself."""

    method: str
    spec: MetricSpec

    @property
    def stem(self) -> str:
        """Part of the file name."""
        return (
            f"{formatting.file_stem(self.method)}_{self.spec.name}"
            if self.method
            else self.spec.name
        )

    def title(self, content: ReportContent) -> str:
        """Return a title such as `Grad-CAM, Overall ↑`."""
        name = formatting.title_with_arrow(self.spec)
        return f"{content.method_title(self.method)}, {name}" if self.method else name


def draw_seeds(content: ReportContent) -> Iterator[Plot]:
    """Draw each main score, one panel per dataset; a line joins the two models of each pair."""
    num_compared = len(content.arms) - 1
    if not num_compared:
        return
    for score in _main_scores(content):
        blocks = [block for block in content.blocks if _by_arm(block, score)]
        width = max(1.25, 0.42 * num_compared + 0.5)
        columns = max(1, int(SHEET_WIDTH_IN / (width + 0.62)))
        for sheet, part in _sheets(blocks, columns):
            yield _draw_seed_sheet(content, score, part, columns, width, sheet)


def draw_scatter(content: ReportContent) -> Iterator[Plot]:
    """Draw accuracy against the main score of the first method, one panel per dataset."""
    map_score = next((score for score in _main_scores(content) if score.method), None)
    if map_score is None:
        return
    accuracy = Score("", content.specs[ACCURACY])
    blocks = [
        block for block in content.blocks if _by_arm(block, accuracy) and _by_arm(block, map_score)
    ]
    for sheet, part in _sheets(blocks, SCATTER_COLUMNS):
        yield _draw_scatter_sheet(content, accuracy, map_score, part, sheet)


def _sheets(blocks: list[Block], columns: int) -> Iterator[tuple[str, list[Block]]]:
    """Yield the end of the file name and the blocks of each sheet."""
    size = columns * SHEET_ROWS
    for start in range(0, len(blocks), size):
        name = f"_{start // size + 1}" if len(blocks) > size else ""
        yield name, blocks[start : start + size]


def _main_scores(content: ReportContent) -> Iterator[Score]:
    """Yield accuracy, then one main and one secondary metric of the first method."""
    if (content.rows["metric"] == ACCURACY).any():
        yield Score("", content.specs[ACCURACY])
    method = next((name for name in content.methods() if not content.is_control(name)), None)
    if method is None:
        return
    available = set(content.rows.loc[content.rows["method"] == method, "metric"].unique())
    directed = [name for name, spec in content.specs.items() if spec.higher_is_better is not None]
    main = next((name for name in (*MAIN_METRICS, *directed) if name in available), None)
    secondary = next((name for name in SECONDARY_METRICS if name in available), None)
    for name in dict.fromkeys((main, secondary)):
        if name is not None:
            yield Score(method, content.specs[name])


def _by_arm(block: Block, score: Score) -> dict[str, dict[int, float]]:
    """Return the mean of each trained model by arm and seed, percentages in [0, 100]."""
    means = block.means
    rows = means[(means["method"] == score.method) & (means["metric"] == score.spec.name)]
    scale, _ = axis_scale(score.spec)
    return {
        str(row["arm"]): {
            int(seed): scale * float(value)
            for seed, value in zip(row["seeds"], row["per_seed"], strict=True)
        }
        for _, row in rows.iterrows()
        if row["per_seed"]
    }


def _draw_seed_sheet(
    content: ReportContent,
    score: Score,
    blocks: list[Block],
    columns: int,
    width: float,
    sheet: str,
) -> Plot:
    others = content.arms[1:]
    figure, grid = panel_grid(
        len(blocks), columns=columns, panel_in=(width, 1.35), top_in=0.42,
        bottom_in=0.3 + 0.35 * (len(others) > 2), labels=list(map(content.arm_title, content.arms)),
    )  # fmt: skip
    for axes, block in zip(grid, blocks, strict=True):
        _draw_pairs(content, axes, _by_arm(block, score))
        set_panel_title(axes, block, with_backbone=_is_ambiguous(content, block))
        axes.set_xlim(-0.6, len(others) - 0.4)
        if len(others) == 1:
            axes.set_xticks([-0.25, 0.25], [content.arm_title(arm) for arm in content.arms])
        else:
            axes.set_xticks(
                range(len(others)), [content.arm_title(arm) for arm in others], rotation=30,
                ha="right", rotation_mode="anchor",
            )  # fmt: skip
        set_few_y_ticks(axes)
        ensure_y_span(axes, axis_scale(score.spec)[0])
        axes.tick_params(axis="x", labelsize=7.5, length=0)
        axes.grid(visible=False, axis="x")
    for axes in grid[::columns]:
        axes.set_ylabel(axis_scale(score.spec)[1], fontsize=8)
    reference = content.arm_title(content.reference_arm)
    caption = (
        f"Mean of each trained model. A line joins the two models of a pair, which share seed, "
        f"data order and initial weights: {reference} left, the other arm right. "
        f"{_span_sentence(score)}"
    )
    title = f"{score.title(content)}: every pair of models"
    name = f"seeds_{score.stem}{sheet}"
    return save_panels(figure, grid, name, kind="seeds", title=title, caption=caption)


def _draw_pairs(content: ReportContent, axes: Axes, by_arm: dict[str, dict[int, float]]) -> None:
    reference = by_arm.get(content.reference_arm, {})
    for slot, arm in enumerate(content.arms[1:]):
        compared = by_arm.get(arm, {})
        seeds = sorted(set(reference) & set(compared))
        for seed in seeds:
            ends = [reference[seed], compared[seed]]
            axes.plot([slot - 0.25, slot + 0.25], ends, color=GREY, lw=0.9, zorder=1)
        for x, name, values in (
            (slot - 0.25, content.reference_arm, [reference[seed] for seed in seeds]),
            (slot + 0.25, arm, [compared[seed] for seed in seeds]),
        ):
            style = style_of(content, name)
            axes.plot([x] * len(values), values, style.marker, ms=4.5, color=style.colour,
                      label=content.arm_title(name))  # fmt: skip


def _draw_scatter_sheet(
    content: ReportContent, accuracy: Score, map_score: Score, blocks: list[Block], sheet: str
) -> Plot:
    figure, grid = panel_grid(
        len(blocks), columns=SCATTER_COLUMNS, panel_in=(1.85, 1.5), top_in=0.42, footer_in=0.12,
        labels=list(map(content.arm_title, content.arms)),
    )  # fmt: skip
    for axes, block in zip(grid, blocks, strict=True):
        _draw_points(content, axes, _by_arm(block, accuracy), _by_arm(block, map_score))
        set_panel_title(axes, block, with_backbone=_is_ambiguous(content, block))
        set_few_y_ticks(axes)
        ensure_y_span(axes, axis_scale(map_score.spec)[0])
        axes.locator_params(axis="x", nbins=4)
    label = f"{formatting.title_with_arrow(map_score.spec)}, {axis_scale(map_score.spec)[1]}"
    for axes in grid[::SCATTER_COLUMNS]:
        axes.set_ylabel(label, fontsize=8)
    for axes in grid[-SCATTER_COLUMNS:]:
        axes.set_xlabel("accuracy ↑, %", fontsize=8, labelpad=1)
    joined = "; a line joins the models of a pair" if len(content.arms) <= MAX_JOINED_ARMS else ""
    caption = (
        f"One point per trained model{joined}. If the points follow one slope, better scores of "
        "the maps may only reflect better accuracy. "
        f"{_span_sentence(map_score)}"
    )
    title = f"Accuracy against {map_score.title(content)}"
    name = f"scatter_{map_score.stem}{sheet}"
    return save_panels(figure, grid, name, kind="scatter", title=title, caption=caption)


def _draw_points(
    content: ReportContent, axes: Axes, x_values: dict[str, dict[int, float]],
    y_values: dict[str, dict[int, float]],
) -> None:  # fmt: skip
    points_by_arm = {
        arm: {seed: (x, y_values[arm][seed]) for seed, x in x_values[arm].items()
              if seed in y_values.get(arm, {})}
        for arm in content.arms if arm in x_values
    }  # fmt: skip
    reference = points_by_arm.get(content.reference_arm, {})
    for arm, points in points_by_arm.items():
        is_joined = arm != content.reference_arm and len(content.arms) <= MAX_JOINED_ARMS
        for seed in sorted(set(points) & set(reference)) if is_joined else ():
            axes.plot(*zip(reference[seed], points[seed], strict=True), color=GREY, lw=0.7,
                      alpha=0.7, zorder=1)  # fmt: skip
        if points:
            style = style_of(content, arm)
            axes.plot(*zip(*points.values(), strict=True), style.marker, ms=4.5,
                      color=style.colour, label=content.arm_title(arm))  # fmt: skip


def _is_ambiguous(content: ReportContent, block: Block) -> bool:
    """Whether several blocks share the dataset title."""
    return sum(other.title == block.title for other in content.blocks) > 1


def _span_sentence(score: Score) -> str:
    scale, unit = axis_scale(score.spec)
    return f"Every y axis spans at least {scale * MIN_Y_SPAN:g} {unit}."
