"""`lico-bench tune`: try settings of every arm with one budget and write a suite of the best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli import arguments
from lico_bench.cli.console import loading
from lico_bench.cli.finish import reporter_for
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
    from lico_bench.store.run_location import check_out_folder

    check_out_folder(out)
    with loading("tune", "torch"):
        from lico_bench.bench import execute
        from lico_bench.bench.tuning import plan_trials, read_tuning

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
    _show_picks(tuning_plan, run, console)


def _show_picks(plan: TuningPlan, run: RunFolder, console: Console) -> None:
    """Write and print the trials and the suite of each pick."""
    from rich.table import Table

    from lico_bench.bench.tuning import write_picks

    for pick in write_picks(plan, run):
        table = Table(title=f"{pick.title}: {pick.criterion}", title_justify="left")
        for column in pick.trials.columns:
            table.add_column(column)
        for row in pick.trials.to_dict("records"):
            table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
        console.print(table)
        console.print(f"Suite: {pick.suite}", highlight=False, markup=False, soft_wrap=True)
