"""How a command that scores something ends: the summary, and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench import Reporter
    from lico_bench.store import RunFolder


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
    console.print(f"Report: {paths.html}", highlight=False, soft_wrap=True)


def reporter_for(console: Console, *, doing: str = "train and score") -> Reporter:
    """Moving bars on a terminal, lines elsewhere."""
    from lico_bench.cli.progress import LineReporter, TerminalReporter

    return TerminalReporter(console) if console.is_terminal else LineReporter(console, doing=doing)
