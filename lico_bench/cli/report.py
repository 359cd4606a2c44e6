"""`lico-bench report`: tables, plots and the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path | None, typer.Argument(help="A run folder; the newest by default.")] = None,
) -> None:
    """Write LaTeX tables, plots (PDF, PNG), CSV and one HTML page for a run."""
    from rich.console import Console

    from lico_bench.cli.progress import working
    from lico_bench.report import build_report, summary_table
    from lico_bench.store import newest_run, read_run

    console = Console()
    folder = newest_run() if run is None else read_run(run)
    console.print(summary_table(folder))
    with working(console, "Writing the report"):
        paths = build_report(folder)
    console.print(f"Report: {paths.html}", highlight=False, soft_wrap=True)
