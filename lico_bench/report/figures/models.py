"""One point per trained model: how far the seeds agree, and what a map's score owes to accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.figures.canvas import (
    GREY,
    LEAST_SPAN,
    Axes,
    Plot,
    colour_of,
    legend_of,
    marker_of,
    name_panel,
    panel_grid,
    save_plot,
    short_ticks,
    title_of,
    widen,
)

ACCURACY = "accuracy"
MAIN_METRICS = ("overall", "insertion")  # the first that was measured
SECOND_METRICS = ("pointing_game", "energy_pointing_game")
SHEET_IN = 7.6  # of width for the panels
SHEET_LINES = 4
JOINED_ARMS = 4  # with more, the lines between the points hide them


@dataclass(frozen=True)
class Score:
    """A score that is drawn: of the model itself where `method` is empty."""

    method: str
    spec: MetricSpec

    @property
    def stem(self) -> str:
        """Part of a file's name."""
        return (
            f"{formatting.file_stem(self.method)}_{self.spec.name}"
            if self.method
            else self.spec.name
        )

    def title(self, content: ReportContent) -> str:
        """`Grad-CAM, Overall ↑`."""
        name = formatting.title_with_arrow(self.spec)
        return f"{content.method_title(self.method)}, {name}" if self.method else name


def draw_seeds(content: ReportContent) -> Iterator[Plot]:
    """For each main score a panel per dataset: every pair of models as two joined points."""
    others = content.arms[1:]
    if not others:
        return
    for score in _main_scores(content):
        blocks = [block for block in content.blocks if _by_arm(block, score)]
        width = max(1.25, 0.42 * len(others) + 0.5)
        columns = max(1, int(SHEET_IN / (width + 0.62)))
        size = columns * SHEET_LINES
        for start in range(0, len(blocks), size):
            sheet = f"_{start // size + 1}" if len(blocks) > size else ""
            yield _seeds(content, score, blocks[start : start + size], columns, width, sheet)


def draw_scatter(content: ReportContent) -> Iterator[Plot]:
    """Accuracy against the main score of the first method's maps: a panel per dataset."""
    against = next((score for score in _main_scores(content) if score.method), None)
    if against is None:
        return
    accuracy = Score("", content.specs[ACCURACY])
    blocks = [
        block for block in content.blocks if _by_arm(block, accuracy) and _by_arm(block, against)
    ]
    size = 3 * SHEET_LINES
    for start in range(0, len(blocks), size):
        sheet = f"_{start // size + 1}" if len(blocks) > size else ""
        yield _scatter(content, accuracy, against, blocks[start : start + size], sheet)


def _main_scores(content: ReportContent) -> Iterator[Score]:
    """Accuracy, then the first of the main and of the second metrics of the first method."""
    if (content.rows["metric"] == ACCURACY).any():
        yield Score("", content.specs[ACCURACY])
    method = next((name for name in content.methods() if not content.is_control(name)), None)
    if method is None:
        return
    found = set(content.rows.loc[content.rows["method"] == method, "metric"].unique())
    merits = [name for name, spec in content.specs.items() if spec.higher_is_better is not None]
    main = next((name for name in (*MAIN_METRICS, *merits) if name in found), None)
    for name in dict.fromkeys([main, *[name for name in SECOND_METRICS if name in found][:1]]):
        if name is not None:
            yield Score(method, content.specs[name])


def _by_arm(block: Block, score: Score) -> dict[str, dict[int, float]]:
    """Mean of each trained model, by arm and seed."""
    means = block.means
    rows = means[(means["method"] == score.method) & (means["metric"] == score.spec.name)]
    scale = 100.0 if formatting.is_percent(score.spec) else 1.0
    return {
        str(row["arm"]): {
            int(seed): scale * float(value)
            for seed, value in zip(row["seeds"], row["per_seed"], strict=True)
        }
        for _, row in rows.iterrows()
        if row["per_seed"]
    }


def _seeds(
    content: ReportContent,
    score: Score,
    blocks: list[Block],
    columns: int,
    width: float,
    sheet: str,
) -> Plot:
    others = content.arms[1:]
    figure, grid = panel_grid(
        len(blocks), columns=columns, panel_in=(width, 1.35), head_in=0.42,
        foot_in=0.3 + 0.35 * (len(others) > 2), labels=list(map(content.arm_title, content.arms)),
    )  # fmt: skip
    for place, (axes, block) in enumerate(zip(grid, blocks, strict=True)):
        _pairs(content, axes, _by_arm(block, score))
        name_panel(axes, block, with_backbone=_is_ambiguous(content, block))
        axes.set_xlim(-0.6, len(others) - 0.4)
        if len(others) == 1:
            axes.set_xticks([-0.25, 0.25], [content.arm_title(arm) for arm in content.arms])
        else:
            axes.set_xticks(
                range(len(others)), [content.arm_title(arm) for arm in others], rotation=30,
                ha="right", rotation_mode="anchor",
            )  # fmt: skip
        short_ticks(axes)
        widen(axes, _span(score))
        axes.tick_params(axis="x", labelsize=7.5, length=0)
        axes.grid(visible=False, axis="x")
        if place % columns == 0:
            axes.set_ylabel(_unit(score), fontsize=8)
    legend_of(figure, grid)
    title = f"{score.title(content)}: every pair of models"
    title_of(figure, title)
    reference = content.arm_title(content.reference_arm)
    caption = (
        f"Mean of each trained model. A line joins the two models of a pair, which share seed, "
        f"data order and initial weights: {reference} left, the other arm right. "
        f"{_span_told(score)}"
    )
    return save_plot(
        figure, f"seeds_{score.stem}{sheet}", kind="seeds", title=title, caption=caption
    )


def _pairs(content: ReportContent, axes: Axes, by_arm: dict[str, dict[int, float]]) -> None:
    reference = by_arm.get(content.reference_arm, {})
    for slot, arm in enumerate(content.arms[1:]):
        theirs = by_arm.get(arm, {})
        seeds = sorted(set(reference) & set(theirs))
        for seed in seeds:
            ends = [reference[seed], theirs[seed]]
            axes.plot([slot - 0.25, slot + 0.25], ends, color=GREY, lw=0.9, zorder=1)
        for x, name, values in (
            (slot - 0.25, content.reference_arm, [reference[seed] for seed in seeds]),
            (slot + 0.25, arm, [theirs[seed] for seed in seeds]),
        ):
            axes.plot([x] * len(values), values, marker_of(content, name), ms=4.5,
                      color=colour_of(content, name), label=content.arm_title(name))  # fmt: skip


def _scatter(
    content: ReportContent, accuracy: Score, against: Score, blocks: list[Block], sheet: str
) -> Plot:
    figure, grid = panel_grid(
        len(blocks), columns=3, panel_in=(1.85, 1.5), head_in=0.42, below_in=0.12,
        labels=list(map(content.arm_title, content.arms)),
    )  # fmt: skip
    for place, (axes, block) in enumerate(zip(grid, blocks, strict=True)):
        _points(content, axes, _by_arm(block, accuracy), _by_arm(block, against))
        name_panel(axes, block, with_backbone=_is_ambiguous(content, block))
        short_ticks(axes)
        widen(axes, _span(against))
        axes.locator_params(axis="x", nbins=4)
        if place % 3 == 0:
            axes.set_ylabel(
                f"{formatting.title_with_arrow(against.spec)}, {_unit(against)}", fontsize=8
            )
    for axes in grid[-3:]:
        axes.set_xlabel("accuracy ↑, %", fontsize=8, labelpad=1)
    legend_of(figure, grid)
    title = f"Accuracy against {against.title(content)}"
    joined = "; a line joins the models of a pair" if len(content.arms) <= JOINED_ARMS else ""
    title_of(figure, title)
    caption = (
        f"One point per trained model{joined}. Where the points lie on one slope, "
        "a better score of the maps may be no more than a better classifier. "
        f"{_span_told(against)}"
    )
    return save_plot(
        figure, f"scatter_{against.stem}{sheet}", kind="scatter", title=title, caption=caption
    )


def _points(
    content: ReportContent, axes: Axes, across: dict[str, dict[int, float]],
    upright: dict[str, dict[int, float]],
) -> None:  # fmt: skip
    places = {
        arm: {seed: (x, upright[arm][seed]) for seed, x in across[arm].items()
              if seed in upright.get(arm, {})}
        for arm in content.arms if arm in across
    }  # fmt: skip
    first = places.get(content.reference_arm, {})
    for arm, points in places.items():
        is_joined = arm != content.reference_arm and len(content.arms) <= JOINED_ARMS
        for seed in sorted(set(points) & set(first)) if is_joined else ():
            axes.plot(*zip(first[seed], points[seed], strict=True), color=GREY, lw=0.7, alpha=0.7,
                      zorder=1)  # fmt: skip
        if points:
            axes.plot(*zip(*points.values(), strict=True), marker_of(content, arm), ms=4.5,
                      color=colour_of(content, arm), label=content.arm_title(arm))  # fmt: skip


def _is_ambiguous(content: ReportContent, block: Block) -> bool:
    """Whether the dataset's title alone does not tell the block from another."""
    return sum(other.title == block.title for other in content.blocks) > 1


def _span(score: Score) -> float:
    return LEAST_SPAN * (100.0 if formatting.is_percent(score.spec) else 1.0)


def _span_told(score: Score) -> str:
    return f"No upright axis is shorter than {_span(score):g} {_unit(score)}."


def _unit(score: Score) -> str:
    return "%" if formatting.is_percent(score.spec) else score.spec.unit
