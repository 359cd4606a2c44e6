"""`lico-bench tune`: try settings of every arm with one budget and write a suite of the best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli import arguments
from lico_bench.cli.console import loading
from lico_bench.cli.options import check_out_folder
from lico_bench.cli.plan import show_plan

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench.tuning import TuningPlan
    from lico_bench.store import RunFolder

SpaceFile = Annotated[
    Path,
    typer.Argument(help="TOML file of the tuning: a suite, [tune] and [space]."),
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
    from lico_bench.cli.console import new_console

    check_out_folder(out)
    with loading("tune", "torch"):
        from lico_bench.bench import execute
        from lico_bench.bench.tuning import plan_trials, read_tuning
        from lico_bench.cli.progress import reporter_for

    console = new_console()
    options = ExecutorOptions(device=device, workers=workers)
    tuning_plan = plan_trials(read_tuning(file), root=data_root, device=device)
    folder = out or Path("results") / tuning_plan.name
    for facts in tuning_plan.datasets.values():
        console.print(f"  {facts.summary()}", highlight=False, markup=False, soft_wrap=True)
    tuning = tuning_plan.tuning
    console.print(
        f"  {tuning.trials} trials per arm, judged on {tuning.holdout:.0%} of train; "
        f"run folder: {folder}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if plan:
        show_plan(tuning_plan, folder, options, console, calibrating=False)
        return
    run = execute(
        tuning_plan, folder, executor=executor, options=options, wait=wait,
        reporter=reporter_for(console),
    )  # fmt: skip
    _show_result(tuning_plan, run, console)


def _show_result(plan: TuningPlan, run: RunFolder, console: Console) -> None:
    """Write the trials, plots, the LaTeX table and the suites; print the picks."""
    from rich.table import Table

    from lico_bench.bench.tuning import TuningResult, formula
    from lico_bench.report.trials import draw_trials, picks_table
    from lico_bench.store.files import write_bytes

    result, tuning, folder = TuningResult.of(plan, run), plan.tuning, run.path / "tuning"
    result.write(folder)
    formulas = {name: formula(weights) for name, weights in tuning.criteria.items()}
    for name, picks in result.picks.items():
        table = Table(title=f"Best by {formulas[name]}", title_justify="left")
        for column in ("data set", "arm", "trial", "settings", "accuracy", "score"):
            table.add_column(column)
        for row in picks.to_dict("records"):
            options = {n.partition(".")[2]: row[n] for n in tuning.spaces[str(row["arm"])]}
            settings = ", ".join(f"{option} {value}" for option, value in options.items())
            table.add_row(
                str(row["dataset"]), str(row["arm"]), str(row["trial"]), settings,
                f"{row['accuracy']:.1%}", f"{row[name]:.4f}",
            )  # fmt: skip
        console.print(table)
        for dataset, trials in result.trials.groupby("dataset", sort=False):
            plot = draw_trials(
                trials, picks[picks["dataset"] == dataset], tuning.option_names,
                log_options=tuning.log_options, score=name, score_title=formulas[name],
            )  # fmt: skip
            write_bytes(folder / f"{plot.name}.png", plot.png)
            write_bytes(folder / f"{plot.name}.pdf", plot.pdf)
        console.print(f"Suite: {folder / name}.toml", highlight=False, markup=False, soft_wrap=True)
    by_formula = {formulas[name]: picks for name, picks in result.picks.items()}
    latex = picks_table(result.trials, by_formula, tuning.option_names, run.path.name)
    write_bytes(folder / f"{latex.name}.tex", latex.text.encode())
    console.print(f"Trials: {folder}", highlight=False, markup=False, soft_wrap=True)
