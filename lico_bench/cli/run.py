"""`lico-bench run`: train, explain and score the models of a suite and write the report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli.finish import end_run, reporter_for
from lico_bench.cli.loading import loading
from lico_bench.cli.names import check_suite
from lico_bench.cli.plan import print_time, show_plan
from lico_bench.cli.suite_options import build_suite

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench import ExecutorOptions, Plan
    from lico_bench.store import RunFolder


def run(
    context: typer.Context,
    suite: Annotated[
        Path | None,
        typer.Option(help="TOML file of the suite; options given here override it."),
    ] = None,
    datasets: Annotated[
        str,
        typer.Option(help="Datasets, comma-separated, or all; see `lico-bench ls datasets`."),
    ] = "all",
    profile: Annotated[
        str, typer.Option(help="Size of the suite: smoke (seconds), quick (minutes) or paper.")
    ] = "quick",
    arms: Annotated[
        str, typer.Option(help="Arms to train, comma-separated; see `lico-bench ls arms`.")
    ] = "baseline,lico",
    seeds: Annotated[
        int | None,
        typer.Option(help="Trainings per arm. Default by profile: smoke 1, quick 2, paper 5."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Saliency methods, comma-separated, with options as in rise(num_masks=200); "
            "see `lico-bench ls methods`. Default by profile."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Metrics, comma-separated; see `lico-bench ls metrics`. Default by profile."
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(help="Rules of the perturbation curves; see `lico-bench ls protocols`."),
    ] = "lico_bench_1",
    scorer: Annotated[
        str | None,
        typer.Option(
            help="Network that scores the maps: own (each model its own maps) or an arm. "
            "Default by protocol."
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="auto (real images if found, else stand-ins), real, standin, or official "
            "(complete datasets; only with --plan)."
        ),
    ] = "auto",
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the datasets. Default: LICO_BENCH_DATA.")
    ] = None,
    labels: Annotated[
        str, typer.Option(help="Label budget: full, or a number of labelled images.")
    ] = "full",
    backbone: Annotated[
        str | None,
        typer.Option(help="Backbone; see `lico-bench ls backbones`. Default: the dataset card's."),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            help="Text encoder of the LICO arms; see `lico-bench ls encoders`. Default: minilm."
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Precision of training: auto, float32 or bfloat16. Default: the dataset card's."
        ),
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Skip unreadable images and record them.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(help="Number of images to explain per model. Default by profile.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    executor: Annotated[str, typer.Option(help="Executor of the cells: local or ray.")] = "local",
    workers: Annotated[
        int, typer.Option(help="Processes that run cells in parallel on this machine.")
    ] = 1,
    devices: Annotated[
        int, typer.Option(help="Processes per machine that train each model together.")
    ] = 1,
    num_nodes: Annotated[
        int, typer.Option(help="Machines that train each model together; see README.")
    ] = 1,
    address: Annotated[
        str | None, typer.Option(help="Address of the Ray cluster, with --executor ray.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder. Default: results/<name of the suite>.")
    ] = None,
    reuse: Annotated[
        Path | None,
        typer.Option(help="Run whose models are reused if recipe, data and code are the same."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for another process that uses the run folder.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="recipe.NAME=VALUE or objective.NAME=VALUE; repeatable."),
    ] = None,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published", help="Use the paper's loss weights instead of the dataset cards'."
        ),
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print cells, time and disk space; run nothing.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="With --plan: calibrate the time first (one minute)."),
    ] = False,
) -> None:
    """Train pairs, explain and score them, and write the report. An interrupted run resumes."""
    # The suite is built from the context, which records which options were typed.
    from lico_bench.bench import ExecutorOptions
    from lico_bench.cli.console import new_console
    from lico_bench.store.run_location import check_out_folder

    console = new_console()
    options = ExecutorOptions(
        device=device, workers=workers, address=address, devices=devices, num_nodes=num_nodes
    )
    requested = build_suite(
        context.params, file=suite, typed=_typed_options(context), root=data_root
    )
    check_out_folder(out)
    check_suite(requested, executor, data_root)
    with loading("run", "torch"):
        from lico_bench.bench import make_plan
        from lico_bench.bench.precision import resolve_run_precision
        from lico_bench.runtime import pick_device

    pick_device(device)  # reports an unknown device before the data are read
    run_plan = make_plan(requested, root=data_root, device=device)
    folder = out or Path("results") / run_plan.name
    run_plan, notes = resolve_run_precision(run_plan, folder, device)
    if plan or calibrate:
        _print_setup(run_plan, folder, console, notes)
        show_plan(run_plan, folder, options, console, calibrating=calibrate)
        return
    finished = _execute(
        run_plan, folder, executor, options, console, wait=wait, reuse=reuse, notes=notes
    )
    if finished is not None:
        end_run(finished, console, compared="the arms")


def _execute(
    plan: Plan, folder: Path, executor: str, options: ExecutorOptions, console: Console, *,
    wait: bool, reuse: Path | None, notes: Iterable[str],
) -> RunFolder | None:  # fmt: skip
    """Execute the plan; return the finished run on the leader and None on other ranks."""
    from lico_bench.bench import execute
    from lico_bench.bench.executors.data_parallel import follow, process_options
    from lico_bench.bench.process_group import join_process_group
    from lico_bench.store import read_run

    with join_process_group(devices=options.devices, num_nodes=options.num_nodes) as group:
        if group.count > 1:
            executor, options = "together", process_options(group, options, executor)
        if not group.is_leader:
            follow(plan, folder, device=options.device)
            return None
        _print_setup(plan, folder, console, notes)
        return execute(
            plan, folder, executor=executor, options=options, wait=wait,
            reuse=None if reuse is None else read_run(reuse),
            starting=lambda run: _print_time(plan, run, options, console),
            reporter=reporter_for(console),
        )  # fmt: skip


def _print_time(plan: Plan, run: RunFolder, options: ExecutorOptions, console: Console) -> None:
    print_time(plan, run, options, console)


def _typed_options(context: typer.Context) -> set[str]:
    """Return the names of options that were given, not left at their defaults."""
    given_by = {"COMMANDLINE", "ENVIRONMENT"}
    return {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) is not None and source.name in given_by
    }


def _print_setup(plan: Plan, folder: Path, console: Console, notes: Iterable[str]) -> None:
    """Print the images that each dataset uses, the run folder and notes, one line each."""
    if plan.suite.data == "official":
        console.print("  Complete datasets, found here or not:", highlight=False)
    for facts in plan.datasets.values():
        console.print(f"  {facts.summary()}", highlight=False, markup=False, soft_wrap=True)
    for line in (f"run folder: {folder}", *notes):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
