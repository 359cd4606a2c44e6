"""How a command that scores something ends: the summary, the report, and what failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from lico_bench.cli.exit_codes import FAILED_CELLS

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench import Reporter
    from lico_bench.store import RunFolder


def end_run(run: RunFolder, console: Console, *, comparing: str) -> None:
    """Show what a run found; the last lines and the exit code say which cells failed.

    Args:
        comparing: what is compared, `the arms`.
    """
    if run.finished():
        show_results(run, console, comparing=comparing)
    failures = run.failures()
    if not failures:
        return
    count = f"{len(failures)} of {len(run.manifest()['cells'])} cells failed"
    lines = [
        f"  {key} in {message['stage']}: {message['sentence']}" for key, message in failures.items()
    ]
    lines.append("Repeat the same command to try them again; the finished ones are kept.")
    for line in (f"{count}:", *lines):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(FAILED_CELLS)


def show_results(run: RunFolder, console: Console, *, comparing: str) -> None:
    """Print the summary of a finished run, and where its report is; a current one is kept.

    Args:
        comparing: what is compared, `the arms`.
    """
    from lico_bench.cli.progress import working
    from lico_bench.report import build_report, current_report, gather, show_summary

    with working(console, f"Comparing {comparing}"):
        content = gather(run)
    console.print(show_summary(content))
    paths = current_report(run)
    if paths is None:
        with working(console, "Writing the report"):
            paths = build_report(run, content)
    console.print(f"Report: {paths.html}", highlight=False, markup=False, soft_wrap=True)


def reporter_for(console: Console, *, doing: str = "train and score") -> Reporter:
    """Moving bars on a terminal, lines elsewhere."""
    from lico_bench.cli.progress import LineReporter, TerminalReporter

    return TerminalReporter(console) if console.is_terminal else LineReporter(console, doing=doing)
