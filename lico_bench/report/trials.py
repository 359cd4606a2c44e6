"""Plot and LaTeX table of the trials of `lico-bench tune`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from lico_bench.report.figures.canvas import (
    GREY,
    Plot,
    add_figure_legend,
    panel_grid,
    plot_style,
    save_plot,
    series_style,
    set_few_y_ticks,
    set_figure_title,
)
from lico_bench.report.latex import LatexTable, typeset
from lico_bench.report.tables import Cell, Row, Section, Table

COLUMNS = 3


def draw_trials(
    trials: pd.DataFrame,
    picks: pd.DataFrame,
    options: Sequence[str],
    *,
    log_options: Collection[str],
    score: str,
    score_title: str,
) -> Plot:
    """Draw the score of each trial over each option, one marker per arm; picks are ringed.

    Args:
        trials: rows of `bench.tuning.trial_table` of one dataset.
        picks: the rows that are picked.
        options: columns of `trials` with the options of the spaces.
        log_options: options with a logarithmic axis.
        score: column with the score; a diverged trial is minus infinity and is not drawn.
    """
    dataset, arms = str(trials["dataset"].iloc[0]), list(dict.fromkeys(trials["arm"]))
    with plot_style():
        figure, grid = panel_grid(
            len(options), columns=COLUMNS, panel_in=(2.0, 1.5), bottom_in=0.5, footer_in=0.1,
            labels=arms,
        )  # fmt: skip
        for axes, option in zip(grid, options, strict=True):
            for number, arm in enumerate(arms):
                colour, _, marker = series_style(number)
                shown = trials[(trials["arm"] == arm) & trials[option].notna()]
                shown = shown[np.isfinite(shown[score])]
                axes.plot(
                    shown[option], shown[score], marker, color=colour, ms=4, alpha=0.8, label=arm
                )
                best = picks[(picks["arm"] == arm) & picks[option].notna()]
                axes.plot(best[option], best[score], "o", ms=11, mfc="none", mec=colour, mew=1.4)
            if option in log_options:
                axes.set_xscale("log")
            axes.set_xlabel(option.partition(".")[2].replace("_", " "), fontsize=8, labelpad=1)
            axes.tick_params(labelcolor="black", color=GREY)
            set_few_y_ticks(axes)
        grid[0].set_ylabel(score_title, fontsize=8)
        add_figure_legend(figure, grid)
        title = f"{dataset}: trials of every arm"
        set_figure_title(figure, title)
        return save_plot(
            figure, f"trials_{dataset}_{score}", kind="trials", title=title,
            caption=(
                f"{score_title} on images held out of train, over each tuned option; a ring marks "
                "the picked trial of an arm. Diverged trials are not drawn."
            ),
        )  # fmt: skip


def picks_table(
    trials: pd.DataFrame, picks: Mapping[str, pd.DataFrame], options: Sequence[str], run_name: str
) -> LatexTable:
    """Return the picked settings of every arm as LaTeX, a row per dataset, arm and criterion.

    Args:
        picks: picked rows of `trials` by the formula of the criterion.
    """
    columns = ("Data set", "Arm", "Criterion", "Trials", "Trial", *map(_title, options), "Accuracy")
    rows = [
        Row(
            (
                Cell(str(row["dataset"]), "label"), Cell(str(row["arm"]), "label"),
                Cell(criterion, "label"), Cell(str(_budget(trials, row))), Cell(str(row["trial"])),
                *(_option_cell(row[name]) for name in options),
                Cell(f"{100 * float(row['accuracy']):.1f}"),
            )
        )
        for criterion, picked in picks.items()
        for row in picked.to_dict("records")
    ]  # fmt: skip
    table = Table(
        name="tuning",
        title="Picked settings of every arm",
        columns=columns,
        sections=(Section("", tuple(rows)),),
        caption="the same number of trials per arm, judged on images held out of train",
        notes=("Trial 0 has the settings of the suite. Accuracy in %, on the images held out.",),
    )
    return typeset(table, run_name)


def _title(option: str) -> str:
    return option.partition(".")[2].replace("_", " ").capitalize()


def _budget(trials: pd.DataFrame, row: Mapping[object, object]) -> int:
    return int(((trials["dataset"] == row["dataset"]) & (trials["arm"] == row["arm"])).sum())


def _option_cell(value: object) -> Cell:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return Cell("–", "empty", "The arm does not have this option.")
    return Cell(f"{value:g}" if isinstance(value, int | float) else str(value))
