"""`lico-bench run --plan`: cells of a run with their estimated time and disk space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lico_bench.cli.console import format_seconds, say

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from lico_bench.bench import ExecutorOptions, Plan
    from lico_bench.bench.plan import PlannedCell
    from lico_bench.bench.time_estimate import TimeEstimate
    from lico_bench.store import RunFolder

MAX_ROWS = 24  # with more models, those of one dataset and arm share a row
LONG_RUN_S = 1800.0  # above it, options for a shorter run are printed
UNTIMED_SHARE = 0.25  # share of the estimate that was not timed; above it, it is printed
ROUGH_TIMED_SHARE = 0.1  # timed share of the estimate; below it, the estimate is called rough
SHORTER_LIMIT = 32  # suggested images per model if scoring takes most of the time


def show_plan(
    plan: Plan, folder: Path, options: ExecutorOptions, console: Console, *, calibrating: bool
) -> None:
    """Print the cells of a plan with their cost, and the time of a run into `folder`.

    Args:
        calibrating: whether to calibrate the time estimate on this machine first.
    """
    from lico_bench.store import RunFolder

    if calibrating:
        _calibrate(plan, options.device, console)
    estimate = print_time(plan, RunFolder(folder), options, console)
    console.print(_table(plan, estimate))
    console.print(_totals(plan), highlight=False)
    if estimate is not None:
        stages = ", ".join(
            f"{stage} {format_seconds(seconds)}" for stage, seconds in estimate.by_stage.items()
        )
        console.print(f"Time by stage: {stages}.", highlight=False)
    say(console, "Nothing was run.")


def print_time(
    plan: Plan, run: RunFolder, options: ExecutorOptions, console: Console
) -> TimeEstimate | None:
    """Print the estimated remaining time in one line; return None if it cannot be estimated."""
    from lico_bench.bench.calibration import estimate_remaining

    estimate: TimeEstimate | None = None
    try:
        estimate = estimate_remaining(plan, run, device=options.device)
    except Exception as error:  # the run does not need the estimate
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        line = f"The time cannot be estimated: {reason}"
    else:
        if not estimate.by_cell:
            return estimate  # all cells are finished
        line = time_sentence(plan, estimate, options)
    say(console, f"  {line}")
    return estimate


def time_sentence(plan: Plan, estimate: TimeEstimate, options: ExecutorOptions) -> str:
    """Return `About 9 min for 32 models on the CPU (2 threads, float32), measured in 3 s.`."""
    remaining = [cell for cell in plan.cells if cell.key in estimate.by_cell]
    unfinished = "" if len(remaining) == len(plan.cells) else f"{len(remaining)} unfinished of "
    models = f"{unfinished}{len(plan.cells)} model{'' if len(plan.cells) == 1 else 's'}"
    is_parallel = options.workers * options.devices * options.num_nodes > 1 or options.address
    order = " one after the other" if is_parallel else ""
    precisions = " and ".join(sorted({cell.recipe.precision for cell in remaining}))
    about = "About"
    if estimate.timed_share < ROUGH_TIMED_SHARE:
        about, source = "Roughly", "from operation counts only"
    elif estimate.took_s:
        source = f"measured in {format_seconds(estimate.took_s)}"
        if estimate.timed_share < 1 - UNTIMED_SHARE:
            source += f" ({1 - estimate.timed_share:.0%} of it not timed)"
    else:
        source = "from the stored calibration"
    sentence = (
        f"{about} {format_seconds(estimate.seconds)} for {models}{order} on "
        f"{_device_label(options.device, precisions)}, {source}."
    )
    shorter = _shorter_options(plan, estimate) if estimate.seconds > LONG_RUN_S else ""
    return f"{sentence} {shorter}".rstrip()


def _calibrate(plan: Plan, device: str, console: Console) -> None:
    """Time units of work on this machine and store the calibration."""
    from lico_bench.bench.calibration import calibrate, write_calibration
    from lico_bench.report import build_report

    calibration = calibrate(
        plan, device=device, write_report=build_report,
        on_unit=lambda unit: say(console, f"  timing {unit}"),
    )  # fmt: skip
    say(console, f"  calibration: {write_calibration(calibration)}")


def _device_label(name: str, precisions: str) -> str:
    import torch

    from lico_bench.runtime import pick_device

    device = pick_device(name)
    if device.type == "cpu":
        count = torch.get_num_threads()
        return f"the CPU ({count} thread{'' if count == 1 else 's'}, {precisions})"
    label = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{label} ({precisions})"


def _shorter_options(plan: Plan, estimate: TimeEstimate) -> str:
    """Return options that shorten the run, with the resulting times if known."""
    suite, cells = plan.suite, [cell for cell in plan.cells if cell.key in estimate.by_cell]
    # Scales the times of cells to the total, which includes loading and the report.
    scale = estimate.seconds / max(1e-9, sum(estimate.by_cell.values()))
    suggestions = []
    if suite.profile != "smoke":
        suggestions.append("--profile smoke (tests the setup)")
    by_dataset = dict.fromkeys(suite.datasets, 0.0)
    for cell in cells:
        by_dataset[cell.recipe.dataset] += estimate.by_cell[cell.key] * scale
    by_dataset = {name: seconds for name, seconds in by_dataset.items() if seconds}
    if len(by_dataset) > 1:
        name = min(by_dataset, key=lambda dataset: by_dataset[dataset])
        suggestions.append(f"--datasets {name} ({format_seconds(by_dataset[name])})")
    one_seed = sum(estimate.by_cell[cell.key] for cell in cells if cell.recipe.seed == 0) * scale
    if 0 < one_seed < 0.9 * estimate.seconds:
        suggestions.append(f"--seeds 1 ({format_seconds(one_seed)})")
    if estimate.by_stage["scoring"] > estimate.seconds / 2 and (
        suite.limit is None or suite.limit > SHORTER_LIMIT
    ):
        suggestions.append(f"--limit {SHORTER_LIMIT}")
    return f"Shorter: {'; '.join(suggestions)}." if suggestions else ""


def _totals(plan: Plan) -> str:
    costs = [cell.cost for cell in plan.cells]
    forwards = sum(cost.forwards for cost in costs)
    train_forwards = sum(cost.train_forwards for cost in costs)
    return (
        f"Training: {train_forwards:,} forward and backward passes. Scoring: {forwards:,} forward "
        f"passes. Images: {_bytes(sum(cost.read_bytes for cost in costs))} of pixels. "
        f"Results: {sum(cost.rows for cost in costs):,} rows, "
        f"{_bytes(sum(cost.disk_bytes for cost in costs))} on disk. Checkpoints during training: "
        f"at most {_bytes(max(cost.checkpoint_bytes for cost in costs))}."
    )


def _table(plan: Plan, estimate: TimeEstimate | None) -> Table:
    from rich.table import Table

    seconds = {} if estimate is None else estimate.by_cell
    table = Table(title=f"{len(plan.cells)} models, {plan.eval_config.protocol.id}")
    for heading in ("cell", "backbone", "updates", "forwards", "disk", "about"):
        table.add_column(heading, justify="left" if heading in ("cell", "backbone") else "right")
    for title, cells in _table_rows(plan).items():
        table.add_row(
            title,
            cells[0].recipe.backbone,
            f"{sum(cell.cost.updates for cell in cells):,}",
            f"{sum(cell.cost.forwards for cell in cells):,}",
            _bytes(sum(cell.cost.disk_bytes for cell in cells)),
            _about([seconds.get(cell.key) for cell in cells]),
        )
    return table


def _about(seconds: list[float | None]) -> str:
    """Return the total time of cells; a dash if they are finished or have no estimate."""
    known = [value for value in seconds if value is not None]
    return format_seconds(sum(known)) if known else "-"


def _table_rows(plan: Plan) -> dict[str, list[PlannedCell]]:
    """Return the cells of each table row by title."""
    rows: dict[str, list[PlannedCell]] = {}
    for cell in plan.cells:
        seeds = plan.suite.seeds_of(cell.recipe.dataset)
        group = f"{cell.recipe.dataset} {cell.recipe.arm}, {seeds} seeds"
        title = cell.title if len(plan.cells) <= MAX_ROWS else group
        rows.setdefault(title, []).append(cell)
    return rows


def _bytes(count: int) -> str:
    """Format a size: `1.2 MB`, `340 GB`."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if size >= 100 or unit == "B" else f"{size:.1f} {unit}"
