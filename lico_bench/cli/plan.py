"""`lico-bench run --plan`: what would run, how long it takes here, what it leaves on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lico_bench.bench import Plan
    from lico_bench.bench.cost import PlanCost
    from lico_bench.bench.plan import PlannedCell

MOST_LINES = 24  # with more models, those of one dataset and arm share a line
SURE_SHARE = 0.9  # of the seconds measured here, from which on nothing is said of scaled ones
HINT = "`--plan --calibrate` measures this machine for a minute and tells it within 30 %."


def show_plan(plan: Plan, device: str, console: Console, *, calibrating: bool) -> None:
    """Print the models of a plan with their cost; timed before, or here and now.

    Args:
        calibrating: whether to time this machine first.
    """
    from lico_bench.bench.calibration import read_calibration, write_calibration
    from lico_bench.bench.cost import predict_cost
    from lico_bench.bench.measuring import calibrate
    from lico_bench.bench.work import measure_speed
    from lico_bench.cli.progress import format_seconds
    from lico_bench.report import build_report
    from lico_bench.runtime import pick_device

    chosen = pick_device(device)
    calibration = read_calibration(chosen)
    if calibrating:
        calibration = calibrate(
            plan, calibration, device=device, write_report=build_report,
            told=lambda what: console.print(f"  timing {what}", highlight=False, markup=False),
        )  # fmt: skip
        console.print(
            f"  kept in {write_calibration(calibration)}", highlight=False, soft_wrap=True
        )
    cost = predict_cost(plan, calibration)
    if cost is None:
        speed = measure_speed(chosen)
        seconds = {cell.key: cell.work.gigaflop / speed for cell in plan.cells}
        told = (
            f"roughly {format_seconds(sum(seconds.values()))} here ({speed:.0f} GFLOP/s measured). "
            f"{HINT}"
        )
    else:
        seconds = {
            cell.key: found.seconds for cell, found in zip(plan.cells, cost.cells, strict=True)
        }
        told = _told(cost, calibration.machine["device"])
    console.print(_table(plan, seconds))
    console.print(f"{_totals(plan)}\n{told} Nothing was run.", highlight=False)


def _told(cost: PlanCost, device: str) -> str:
    """The time in all and in parts."""
    from lico_bench.cli.progress import format_seconds

    parts = {
        "start": cost.start,
        "loading": cost.loading,
        "training": sum(cell.training for cell in cost.cells),
        "scoring": sum(cell.scoring for cell in cost.cells),
        "storing": sum(cell.fixed for cell in cost.cells),
        "report": cost.report,
    }
    inside = ", ".join(f"{name} {format_seconds(value)}" for name, value in parts.items())
    hours = f" ({cost.seconds / 3600:,.1f} hours of one {device})" if cost.seconds > 3600 else ""
    scaled = 1 - cost.measured_share
    guess = "" if scaled < 1 - SURE_SHARE else f" {scaled:.0%} of it is scaled by operations."
    return f"About {format_seconds(cost.seconds)} here{hours}: {inside}.{guess}"


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


def _table(plan: Plan, seconds: Mapping[str, float]) -> Table:
    from rich.table import Table

    from lico_bench.cli.progress import format_seconds

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
            format_seconds(sum(seconds[cell.key] for cell in cells)),
        )
    return table


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
