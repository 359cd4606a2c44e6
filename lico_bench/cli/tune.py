"""`lico-bench tune`: try settings of every arm with one budget and write a suite of the best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli import arguments
from lico_bench.cli.console import loading, new_console, say
from lico_bench.cli.options import check_out_folder
from lico_bench.cli.plan import show_plan

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from lico_bench.bench.trials import TuningPlan
    from lico_bench.bench.tuning import Tuning
    from lico_bench.store import RunFolder

SpaceFile = Annotated[
    Path,
    typer.Argument(help="TOML file with a suite and the tables [tune] and [space]."),
]


def tune(
    file: SpaceFile,
    data_root: arguments.DataRoot = None,
    device: arguments.Device = "auto",
    executor: arguments.Executor = "local",
    workers: arguments.Workers = 1,
    out: arguments.RunOut = None,
    wait: arguments.Wait = False,
    plan: arguments.PlanOnly = False,
) -> None:
    """Try settings of every arm with the same budget, judged on images held out of train.

    Writes the trials and, for each declared pick, a suite file for `lico-bench run --suite`.
    """
    from lico_bench.bench import ExecutorOptions

    check_out_folder(out)
    with loading("tune", "torch"):
        from lico_bench.bench import execute
        from lico_bench.bench.runner import resolve_run_precision
        from lico_bench.bench.trials import plan_trials
        from lico_bench.bench.tuning import read_tuning
        from lico_bench.cli.progress import reporter_for

    console = new_console()
    options = ExecutorOptions(device=device, workers=workers)
    trials = plan_trials(read_tuning(file), root=data_root, device=device)
    folder = out or Path("results") / trials.name
    trials, notes = resolve_run_precision(trials, folder, device)
    tuning = trials.tuning
    lines = [
        *(facts.summary() for facts in trials.datasets.values()),
        f"{tuning.trials} trials per arm, judged on {tuning.holdout:.0%} of train",
        f"run folder: {folder}",
        *notes,
    ]
    say(console, *(f"  {line}" for line in lines))
    if plan:
        show_plan(trials, folder, options, console, calibrating=False)
        return
    run = execute(
        trials, folder, executor=executor, options=options, wait=wait,
        reporter=reporter_for(console),
    )  # fmt: skip
    _show_result(trials, run, console)


def _show_result(plan: TuningPlan, run: RunFolder, console: Console) -> None:
    """Write trials, plots, the LaTeX table and the suites, and print the picks.

    Trials that failed leave nothing to pick from: they are listed instead.
    """
    from lico_bench.bench.trials import TuningResult, failed_trials
    from lico_bench.bench.tuning import formula
    from lico_bench.cli.progress import exit_if_failed
    from lico_bench.report.trials import draw_trials, picks_table
    from lico_bench.store.files import write_bytes

    exit_if_failed(failed_trials(plan, run), len(plan.cells), console)
    tuning, folder = plan.tuning, run.path / "tuning"
    result = TuningResult.of(plan, run)
    formulas = {name: formula(weights) for name, weights in tuning.criteria.items()}
    files = result.files()
    for name, picks in result.picks.items():
        for dataset, trials in result.trials.groupby("dataset", sort=False):
            plot = draw_trials(
                trials, picks[picks["dataset"] == dataset], tuning.option_names,
                log_options=tuning.log_options, score=name, score_title=formulas[name],
            )  # fmt: skip
            files |= {f"{plot.name}.png": plot.png, f"{plot.name}.pdf": plot.pdf}
    by_formula = {formulas[name]: picks for name, picks in result.picks.items()}
    latex = picks_table(by_formula, tuning.option_names, tuning.trials, run.path.name)
    files[f"{latex.name}.tex"] = latex.text.encode()
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if old.name not in files:  # of a criterion that is no longer declared
            old.unlink()
    for file, content in files.items():
        write_bytes(folder / file, content)
    for name, picks in result.picks.items():
        console.print(_picks(f"Best by {formulas[name]}", picks, name, tuning))
        say(console, f"Suite: {folder / name}.toml")
    say(console, f"Trials: {folder}")


def _picks(title: str, picks: pd.DataFrame, score: str, tuning: Tuning) -> Table:
    from rich.table import Table

    from lico_bench.report.trials import settings_text

    table = Table(title=title, title_justify="left")
    for column in ("data set", "arm", "trial", "settings", "accuracy", "score"):
        table.add_column(column)
    for row in picks.to_dict("records"):
        table.add_row(
            str(row["dataset"]), str(row["arm"]), str(row["trial"]),
            settings_text(row, tuning.option_names), f"{row['accuracy']:.1%}",
            f"{row[score]:.4f}",
        )  # fmt: skip
    return table
