"""`lico-bench run`: plan, train, explain, score, report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli.finish import end_run, reporter_for
from lico_bench.cli.loading import loading
from lico_bench.cli.names import check_suite
from lico_bench.cli.plan import print_time, show_plan
from lico_bench.cli.suite_options import suite_of

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench import ExecutorOptions, Plan
    from lico_bench.store import RunFolder


def run(
    context: typer.Context,
    suite: Annotated[
        Path | None,
        typer.Option(help="TOML file that declares the suite; other options go before it."),
    ] = None,
    datasets: Annotated[
        str, typer.Option(help="Names with commas between, or all. See `ls datasets`.")
    ] = "all",
    profile: Annotated[
        str, typer.Option(help="smoke (seconds), quick (minutes), paper.")
    ] = "quick",
    arms: Annotated[str, typer.Option(help="What to train. See `ls arms`.")] = "baseline,lico",
    seeds: Annotated[
        int | None, typer.Option(help="Trainings per arm; 1, 2, 5 by profile.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="See `ls methods`; rise(num_masks=200) sets an option.")
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="See `ls metrics`.")] = None,
    protocol: Annotated[str, typer.Option(help="Rules of the curves.")] = "lico_bench_1",
    scorer: Annotated[
        str | None,
        typer.Option(help="Whose network scores the maps: own, or one arm's; by protocol."),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="auto: real images where found, else stand-ins; real; standin; "
            "official: complete datasets, with --plan only."
        ),
    ] = "auto",
    data_root: Annotated[
        Path | None, typer.Option(help="Folder with the datasets; else LICO_BENCH_DATA.")
    ] = None,
    labels: Annotated[str, typer.Option(help="full, or how many labelled images.")] = "full",
    backbone: Annotated[str | None, typer.Option(help="Instead of the card's.")] = None,
    text_encoder: Annotated[str | None, typer.Option(help="See `ls encoders`.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Of the training: auto, float32 or bfloat16; else the card's."),
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave unreadable images out and record them.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Images to explain per model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    executor: Annotated[str, typer.Option(help="Where cells run: local, ray.")] = "local",
    workers: Annotated[
        int, typer.Option(help="Processes that run cells beside each other on this machine.")
    ] = 1,
    devices: Annotated[
        int, typer.Option(help="Processes per machine that train each model together.")
    ] = 1,
    num_nodes: Annotated[
        int, typer.Option(help="Machines that train each model together; see README.")
    ] = 1,
    address: Annotated[str | None, typer.Option(help="Of the cluster, for --executor ray.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; results/<name> by default.")] = None,
    reuse: Annotated[
        Path | None,
        typer.Option(help="Run whose models are taken where recipe, data and code are the same."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="For another process at work on the run folder.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="recipe.NAME=VALUE or objective.NAME=VALUE; repeatable."),
    ] = None,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published", help="Weights of the losses as in the paper, not those of the cards."
        ),
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would run, and stop.")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="With --plan: time this machine first, a minute.")
    ] = False,
) -> None:
    """Train pairs, explain and score them, and write the report. Resumes by itself."""
    # What makes the suite is read from the context, which knows what was typed.
    from lico_bench.bench import ExecutorOptions
    from lico_bench.cli.console import new_console
    from lico_bench.store.run_location import check_out_folder

    console = new_console()
    options = ExecutorOptions(
        device=device, workers=workers, address=address, devices=devices, num_nodes=num_nodes
    )
    requested = suite_of(context.params, file=suite, given=_given(context), root=data_root)
    check_out_folder(out)
    check_suite(requested, executor, data_root)
    with loading("run", "torch"):
        from lico_bench.bench import make_plan
        from lico_bench.bench.precision import resolve_run_precision
        from lico_bench.runtime import pick_device

    pick_device(device)  # told before the data are looked at
    made = make_plan(requested, root=data_root, device=device)
    folder = out or Path("results") / made.name
    made, notes = resolve_run_precision(made, folder, device)
    if plan or calibrate:
        _announce(made, folder, console, notes)
        show_plan(made, folder, options, console, calibrating=calibrate)
        return
    finished = _execute(
        made, folder, executor, options, console, wait=wait, reuse=reuse, notes=notes
    )
    if finished is not None:
        end_run(finished, console, comparing="the arms")


def _execute(
    plan: Plan, folder: Path, executor: str, options: ExecutorOptions, console: Console, *,
    wait: bool, reuse: Path | None, notes: Iterable[str],
) -> RunFolder | None:  # fmt: skip
    """The finished run; None in a process that only helps another with it."""
    from lico_bench.bench import execute
    from lico_bench.bench.executors.data_parallel import follow, options_at
    from lico_bench.bench.process_group import joined
    from lico_bench.store import read_run

    with joined(devices=options.devices, num_nodes=options.num_nodes) as place:
        if place.count > 1:
            executor, options = "together", options_at(place, options, executor)
        if not place.is_leader:
            follow(plan, folder, device=options.device)
            return None
        _announce(plan, folder, console, notes)
        return execute(
            plan, folder, executor=executor, options=options, wait=wait,
            reuse=None if reuse is None else read_run(reuse),
            starting=lambda run: _tell(plan, run, options, console),
            reporter=reporter_for(console),
        )  # fmt: skip


def _tell(plan: Plan, run: RunFolder, options: ExecutorOptions, console: Console) -> None:
    print_time(plan, run, options, console)


def _given(context: typer.Context) -> set[str]:
    """Names of the options that were typed, as opposed to those that have their default."""
    typed = {"COMMANDLINE", "ENVIRONMENT"}
    return {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) is not None and source.name in typed
    }


def _announce(plan: Plan, folder: Path, console: Console, notes: Iterable[str]) -> None:
    """One line per dataset that says which images will be used, and what else to know."""
    if plan.suite.data == "official":
        console.print("  Complete datasets, whether they are here or not:", highlight=False)
    for facts in plan.datasets.values():
        console.print(f"  {facts.summary()}", highlight=False, markup=False, soft_wrap=True)
    for line in (f"run folder: {folder}", *notes):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
