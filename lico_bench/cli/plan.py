"""`lico-bench run --plan`: what would run, how long it takes here, what it leaves on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from lico_bench.bench import ExecutorOptions, Plan
    from lico_bench.bench.plan import PlannedCell
    from lico_bench.bench.time_estimate import TimeEstimate
    from lico_bench.store import RunFolder

MOST_LINES = 24  # with more models, those of one dataset and arm share a line
LONG_S = 1800.0  # from here on shorter runs are named
SCALED_SHARE = 0.25  # not timed here: from there on it is said
ROUGH_SHARE = 0.1  # timed here: below, next to nothing was
SHORTER_LIMIT = 32  # images explained per model, where explaining takes most of the time


def show_plan(
    plan: Plan, folder: Path, options: ExecutorOptions, console: Console, *, calibrating: bool
) -> None:
    """Print the models of a plan with their cost, and what a run into `folder` would take.

    Args:
        calibrating: whether to time this machine first, for as long as it takes to tell well.
    """
    from lico_bench.cli.progress import format_seconds
    from lico_bench.store import RunFolder

    if calibrating:
        _calibrate(plan, options.device, console)
    estimate = print_time(plan, RunFolder(folder), options, console)
    console.print(_table(plan, estimate))
    console.print(_totals(plan), highlight=False)
    if estimate is not None:
        inside = ", ".join(
            f"{stage} {format_seconds(seconds)}" for stage, seconds in estimate.by_stage.items()
        )
        console.print(f"Of the time: {inside}.", highlight=False)
    console.print("Nothing was run.", highlight=False)


def print_time(
    plan: Plan, run: RunFolder, options: ExecutorOptions, console: Console
) -> TimeEstimate | None:
    """Print what is left of a run takes, in one line; None, and why, where that cannot be told."""
    from lico_bench.bench.time_units import look

    estimate: TimeEstimate | None = None
    try:
        estimate = look(plan, run, device=options.device)
    except Exception as error:  # whatever it is, the run itself may do without
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        line = f"How long it takes cannot be told: {reason}"
    else:
        if not estimate.by_cell:
            return estimate  # nothing is left to wait for
        line = time_sentence(plan, estimate, options)
    console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    return estimate


def time_sentence(plan: Plan, estimate: TimeEstimate, options: ExecutorOptions) -> str:
    """One line: `About 9 min for 32 models on the CPU (2 threads, float32), measured in 3 s.`."""
    from lico_bench.cli.progress import format_seconds

    left = [cell for cell in plan.cells if cell.key in estimate.by_cell]
    some = "" if len(left) == len(plan.cells) else f"the {len(left)} unfinished of "
    models = f"{some}{len(plan.cells)} model{'' if len(plan.cells) == 1 else 's'}"
    is_shared = options.workers * options.devices * options.num_nodes > 1 or options.address
    in_turn = " one after the other" if is_shared else ""
    precisions = " and ".join(sorted({cell.recipe.precision for cell in left}))
    about = "About"
    if estimate.timed_share < ROUGH_SHARE:
        about, source = "Roughly", "by its operations alone"
    elif estimate.took_s:
        source = f"measured in {format_seconds(estimate.took_s)}"
        if estimate.timed_share < 1 - SCALED_SHARE:
            source += f" ({1 - estimate.timed_share:.0%} of it not timed)"
    else:
        source = "from the calibration kept here"
    said = (
        f"{about} {format_seconds(estimate.seconds)} for {models}{in_turn} on "
        f"{_device(options.device, precisions)}, {source}."
    )
    shorter = _shorter(plan, estimate) if estimate.seconds > LONG_S else ""
    return f"{said} {shorter}".rstrip()


def _calibrate(plan: Plan, device: str, console: Console) -> None:
    """Time this machine and keep what was found."""
    from lico_bench.bench.calibration import write_calibration
    from lico_bench.bench.time_units import calibrate
    from lico_bench.report import build_report

    found = calibrate(
        plan, device=device, write_report=build_report,
        message=lambda what: console.print(f"  timing {what}", highlight=False, markup=False),
    )  # fmt: skip
    console.print(f"  kept in {write_calibration(found)}", highlight=False, soft_wrap=True)


def _device(name: str, precisions: str) -> str:
    import torch

    from lico_bench.runtime import pick_device

    device = pick_device(name)
    if device.type == "cpu":
        count = torch.get_num_threads()
        return f"the CPU ({count} thread{'' if count == 1 else 's'}, {precisions})"
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{named} ({precisions})"


def _shorter(plan: Plan, estimate: TimeEstimate) -> str:
    """What makes the run shorter, and how long it then takes, as far as that is known."""
    from lico_bench.cli.progress import format_seconds

    suite, cells = plan.suite, [cell for cell in plan.cells if cell.key in estimate.by_cell]
    share = estimate.seconds / max(1e-9, sum(estimate.by_cell.values()))  # loading and report too
    ways = []
    if suite.profile != "smoke":
        ways.append("--profile smoke (to see that all works)")
    by_dataset = dict.fromkeys(suite.datasets, 0.0)
    for cell in cells:
        by_dataset[cell.recipe.dataset] += estimate.by_cell[cell.key] * share
    by_dataset = {name: seconds for name, seconds in by_dataset.items() if seconds}
    if len(by_dataset) > 1:
        name = min(by_dataset, key=lambda dataset: by_dataset[dataset])
        ways.append(f"--datasets {name} ({format_seconds(by_dataset[name])})")
    first = sum(estimate.by_cell[cell.key] for cell in cells if cell.recipe.seed == 0) * share
    if 0 < first < 0.9 * estimate.seconds:
        ways.append(f"--seeds 1 ({format_seconds(first)})")
    if estimate.by_stage["scoring"] > estimate.seconds / 2 and (
        suite.limit is None or suite.limit > SHORTER_LIMIT
    ):
        ways.append(f"--limit {SHORTER_LIMIT}")
    return f"Shorter: {'; '.join(ways)}." if ways else ""


def _totals(plan: Plan) -> str:
    work = [cell.work for cell in plan.cells]
    forwards = sum(each.forwards for each in work)
    trained = sum(each.train_forwards for each in work)
    return (
        f"{trained:,} forwards and backwards of training, {forwards:,} forwards for scoring, "
        f"{_bytes(sum(each.read_bytes for each in work))} of pixels; "
        f"{sum(each.rows for each in work):,} rows, "
        f"{_bytes(sum(each.disk_bytes for each in work))} on disk, checkpoints of at most "
        f"{_bytes(max(each.checkpoint_bytes for each in work))} beside."
    )


def _table(plan: Plan, estimate: TimeEstimate | None) -> Table:
    from rich.table import Table

    seconds = {} if estimate is None else estimate.by_cell
    table = Table(title=f"{len(plan.cells)} models, {plan.protocol.id}")
    for heading in ("cell", "backbone", "updates", "forwards", "disk", "about"):
        table.add_column(heading, justify="left" if heading in ("cell", "backbone") else "right")
    for title, cells in _lines(plan).items():
        table.add_row(
            title,
            cells[0].recipe.backbone,
            f"{sum(cell.work.updates for cell in cells):,}",
            f"{sum(cell.work.forwards for cell in cells):,}",
            _bytes(sum(cell.work.disk_bytes for cell in cells)),
            _about([seconds.get(cell.key) for cell in cells]),
        )
    return table


def _about(seconds: list[float | None]) -> str:
    """Seconds of models together; a dash where nothing is left of them, or nothing is known."""
    from lico_bench.cli.progress import format_seconds

    known = [each for each in seconds if each is not None]
    return format_seconds(sum(known)) if known else "-"


def _lines(plan: Plan) -> dict[str, list[PlannedCell]]:
    """The cells of each line of the table."""
    lines: dict[str, list[PlannedCell]] = {}
    for cell in plan.cells:
        seeds = plan.suite.seeds_of(cell.recipe.dataset)
        together = f"{cell.recipe.dataset} {cell.recipe.arm}, {seeds} seeds"
        title = cell.title if len(plan.cells) <= MOST_LINES else together
        lines.setdefault(title, []).append(cell)
    return lines


def _bytes(count: int) -> str:
    """`1.2 MB`, `340 GB`."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if size >= 100 or unit == "B" else f"{size:.1f} {unit}"
