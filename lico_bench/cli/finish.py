"""Final output of commands that score models: summary, report and failed cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from lico_bench.cli.exit_codes import FAILED_CELLS

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench import Reporter
    from lico_bench.store import RunFolder
    from lico_bench.store.run_records import Failure


def end_run(run: RunFolder, console: Console, *, compared: str) -> None:
    """Print the results of a run; list failed cells last and exit with FAILED_CELLS.

    Args:
        compared: noun for the progress line, such as `the arms`.
    """
    if run.finished():
        show_results(run, console, compared=compared)
    exit_if_failed(run.failures(), len(run.manifest().cells), console)


def exit_if_failed(failures: Mapping[str, Failure], num_cells: int, console: Console) -> None:
    """List failed cells, of `num_cells` in all, and exit with FAILED_CELLS if there are any."""
    if not failures:
        return
    lines = [
        f"{len(failures)} of {num_cells} cells failed:",
        *(f"  {key} in {failure.stage}: {failure.sentence}" for key, failure in failures.items()),
        "Repeat the same command to try them again; finished cells are kept.",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(FAILED_CELLS)


def show_results(run: RunFolder, console: Console, *, compared: str) -> None:
    """Print the summary of a run and the path of its report; write the report if it is outdated.

    Args:
        compared: noun for the progress line, such as `the arms`.
    """
    from lico_bench.cli.progress import working
    from lico_bench.report import build_report, current_report, gather, show_summary

    with working(console, f"Comparing {compared}"):
        content = gather(run)
    console.print(show_summary(content))
    paths = current_report(run)
    if paths is None:
        with working(console, "Writing the report"):
            paths = build_report(run, content)
    console.print(f"Report: {paths.html}", highlight=False, markup=False, soft_wrap=True)


def reporter_for(console: Console, *, action: str = "train and score") -> Reporter:
    """Return progress bars for a terminal, lines otherwise."""
    from lico_bench.cli.progress import LineReporter, TerminalReporter

    if console.is_terminal:
        return TerminalReporter(console)
    return LineReporter(console, action=action)
