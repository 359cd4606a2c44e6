"""`lico-bench run`: train, explain and score the models of a suite and write the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lico_bench.cli import arguments
from lico_bench.cli.console import loading, new_console, say
from lico_bench.cli.options import build_suite, check_out_folder, check_suite
from lico_bench.cli.plan import print_time, show_plan
from lico_bench.errors import InvalidInputError

ONE_PROCESS = (
    "--until-width: each model is trained by one process; leave out --devices and --num-nodes"
)

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench import ExecutorOptions, Plan, Suite
    from lico_bench.store import RunFolder


def run(
    context: typer.Context,
    suite: arguments.SuiteFile = None,
    datasets: arguments.Datasets = "all",
    profile: arguments.Profile = "quick",
    arms: arguments.Arms = "baseline,lico",
    seeds: arguments.Seeds = None,
    until_width: arguments.UntilWidth = False,
    methods: arguments.Methods = None,
    metrics: arguments.Metrics = None,
    protocol: arguments.Protocol = "lico_bench_1",
    scorer: arguments.Scorer = None,
    data: arguments.DataChoice = "auto",
    data_root: arguments.DataRoot = None,
    labels: arguments.Labels = "full",
    backbone: arguments.Backbone = None,
    text_encoder: arguments.TextEncoder = None,
    precision: arguments.Precision = None,
    skip_broken: arguments.SkipBroken = False,
    limit: arguments.Limit = None,
    device: arguments.Device = "auto",
    executor: arguments.Executor = "local",
    workers: arguments.Workers = 1,
    devices: arguments.Devices = 1,
    num_nodes: arguments.NumNodes = 1,
    address: arguments.Address = None,
    out: arguments.RunOut = None,
    reuse: arguments.ReuseRun = None,
    wait: arguments.Wait = False,
    set_: arguments.Settings = None,
    as_published: arguments.AsPublished = False,
    plan: arguments.PlanOnly = False,
    calibrate: arguments.Calibrate = False,
) -> None:
    """Train pairs, explain and score them, and write the report. An interrupted run resumes."""
    from lico_bench.bench import ExecutorOptions

    console = new_console()
    options = ExecutorOptions(
        device=device, workers=workers, address=address, devices=devices, num_nodes=num_nodes
    )
    run_plan, folder, notes = _make_plan(_requested_suite(context), data_root, device, out)
    if plan or calibrate:
        _print_setup(run_plan, folder, console, notes)
        show_plan(run_plan, folder, options, console, calibrating=calibrate)
        return
    finished = _execute(
        run_plan, folder, executor, options, console, wait=wait, reuse=reuse, notes=notes,
        until_width=until_width,
    )  # fmt: skip
    if finished is not None:
        from lico_bench.cli.progress import end_run

        end_run(finished, console, compared="the arms")


def _make_plan(
    suite: Suite, root: Path | None, device: str, out: Path | None
) -> tuple[Plan, Path, tuple[str, ...]]:
    """Return the plan of a suite, its run folder, and notes for the user."""
    with loading("run", "torch"):
        from lico_bench.bench import make_plan
        from lico_bench.bench.runner import resolve_run_precision
        from lico_bench.runtime import pick_device

    pick_device(device)  # reports an unknown device before the data are read
    plan = make_plan(suite, root=root, device=device)
    folder = out or Path("results") / plan.name
    plan, notes = resolve_run_precision(plan, folder, device)
    return plan, folder, notes


def _execute(
    plan: Plan, folder: Path, executor: str, options: ExecutorOptions, console: Console, *,
    wait: bool, reuse: Path | None, notes: Iterable[str], until_width: bool,
) -> RunFolder | None:  # fmt: skip
    """Execute the plan; return the finished run on the leader and None on other ranks."""
    from lico_bench.bench.executors.data_parallel import follow, join_process_group, process_options
    from lico_bench.bench.runner import execute, execute_until_width
    from lico_bench.cli.progress import reporter_for
    from lico_bench.store import read_run

    if until_width and options.devices * options.num_nodes > 1:
        raise InvalidInputError(ONE_PROCESS)
    with join_process_group(devices=options.devices, num_nodes=options.num_nodes) as group:
        if group.count > 1 and until_width:
            raise InvalidInputError(ONE_PROCESS)  # started by torchrun
        if group.count > 1:
            executor, options = "together", process_options(group, options, executor)
            if not group.is_leader:
                follow(plan, folder, device=options.device)
                return None
        _print_setup(plan, folder, console, notes)
        run_cells: Callable[..., RunFolder] = execute_until_width if until_width else execute
        return run_cells(
            plan, folder, executor=executor, options=options, wait=wait,
            reuse=None if reuse is None else read_run(reuse),
            starting=lambda run: print_time(plan, run, options, console),
            reporter=reporter_for(console),
        )  # fmt: skip


def _requested_suite(context: typer.Context) -> Suite:
    """Return the suite of the options, checked as far as that needs no torch."""
    options = context.params
    sources = {name: context.get_parameter_source(name) for name in options}
    typed = {n for n, s in sources.items() if s and s.name in ("COMMANDLINE", "ENVIRONMENT")}
    root = options["data_root"]
    suite = build_suite(options, file=options["suite"], typed=typed, root=root)
    check_out_folder(options["out"])
    check_suite(suite, options["executor"], root)
    return suite


def _print_setup(plan: Plan, folder: Path, console: Console, notes: Iterable[str]) -> None:
    """Print the images that each dataset uses, the run folder and notes, one line each."""
    if plan.suite.data == "official":
        say(console, "  Complete datasets, found here or not:")
    facts = [facts.summary() for facts in plan.datasets.values()]
    say(console, *(f"  {line}" for line in (*facts, f"run folder: {folder}", *notes)))
