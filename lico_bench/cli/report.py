"""`lico-bench report`: write tables, plots and the HTML page of a run, or the history of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lico_bench.cli.console import loading
from lico_bench.cli.suite_options import check_out_folder

HISTORY = Path("results/history")


def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folder; several for their history. Default: the newest run."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help=f"Output folder. Default: RUN/report, or {HISTORY} for several runs."),
    ] = None,
) -> None:
    """Write tables, plots and an HTML page for one run or several.

    Tables are LaTeX and CSV, plots are PDF and PNG.
    """
    from lico_bench.store.files import check_is_run

    check_out_folder(out)
    for run in runs or ():
        check_is_run(run)
    with loading("report", "pandas", "matplotlib"):
        from lico_bench.cli.console import new_console
        from lico_bench.cli.progress import working
        from lico_bench.report import build_history, build_report, gather, show_summary
        from lico_bench.store import newest_run, read_run

    console = new_console()
    if runs is not None and len(runs) > 1:
        with working(console, "Writing the history"):
            html = build_history([read_run(run) for run in runs], out or HISTORY).html
        console.print(f"History: {html}", highlight=False, markup=False, soft_wrap=True)
        return
    folder = read_run(runs[0]) if runs else newest_run()
    with working(console, "Comparing the arms"):
        content = gather(folder)
    console.print(show_summary(content))
    with working(console, "Writing the report"):
        paths = build_report(folder, content, out=out)
    console.print(f"Report: {paths.html}", highlight=False, markup=False, soft_wrap=True)
