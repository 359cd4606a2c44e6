"""Plot and LaTeX table of the trials of `lico-bench tune`."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

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
    set_log_x_axis,
)
from lico_bench.report.latex import LatexTable, typeset
from lico_bench.report.tables import Cell, Row, Section, Table

COLUMNS = 3
COLUMN_SHARES = (0.1, 0.18, 0.18, 0.06, 0.3, 0.1)


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
        trials: rows of `bench.trials.trial_table` of one dataset.
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
                x = _coordinates(shown[option])
                axes.plot(x, shown[score], marker, color=colour, ms=4, alpha=0.8, label=arm)
                best = picks[(picks["arm"] == arm) & picks[option].notna()]
                x = _coordinates(best[option])
                axes.plot(x, best[score], "o", ms=11, mfc="none", mec=colour, mew=1.4)
            if option in log_options and (trials[option].dropna() > 0).all():
                set_log_x_axis(axes)
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


def _coordinates(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return the values of an option as numbers, or as texts, which become categories."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return values.astype(float)
    return values.map(_text)


def picks_table(
    picks: Mapping[str, pd.DataFrame], options: Sequence[str], num_trials: int, run_name: str
) -> LatexTable:
    """Return the picked settings of every arm as LaTeX, a row per dataset, arm and criterion.

    Args:
        picks: picked rows of `bench.trials.trial_table` by the formula of the criterion.
        options: columns of `picks` with the options of the spaces.
        num_trials: trials per arm.
    """
    rows = [
        Row(
            (
                Cell(str(row["dataset"]), "label"), Cell(criterion, "label"),
                Cell(str(row["arm"]), "label"), Cell(str(row["trial"])),
                Cell(settings_text(row, options)), Cell(f"{100 * float(row['accuracy']):.1f}"),
            )
        )
        for criterion, picked in picks.items()
        for row in picked.to_dict("records")
    ]  # fmt: skip
    table = Table(
        name="tuning",
        title="Picked settings of every arm",
        columns=("Data set", "Criterion", "Arm", "Trial", "Settings", "Accuracy"),
        sections=(Section("", tuple(rows)),),
        caption=f"{num_trials} trials per arm, judged on images held out of train",
        notes=("Trial 0 has the settings of the suite. Accuracy in %, on the images held out.",),
        shares=COLUMN_SHARES,
    )
    return typeset(table, run_name)


def settings_text(row: Mapping[Hashable, object], options: Sequence[str]) -> str:
    """Return the settings of a trial as text; an option that its arm lacks is None there."""
    values = {option.partition(".")[2]: row[option] for option in options}
    return ", ".join(f"{name} {_text(v)}" for name, v in values.items() if not _is_absent(v))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
