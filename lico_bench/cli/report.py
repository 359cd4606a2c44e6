"""`lico-bench report` writes tables, plots and a page; `publish` a small copy of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lico_bench.cli.console import loading, new_console, say, working
from lico_bench.cli.options import check_out_folder

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
        from lico_bench.report import build_history, build_report, gather, show_summary
        from lico_bench.store import newest_run, read_run

    console = new_console()
    if runs is not None and len(runs) > 1:
        with working(console, "Writing the history"):
            html = build_history([read_run(run) for run in runs], out or HISTORY).html
        say(console, f"History: {html}")
        return
    folder = read_run(runs[0]) if runs else newest_run()
    with working(console, "Comparing the arms"):
        content = gather(folder)
    console.print(show_summary(content))
    with working(console, "Writing the report"):
        paths = build_report(folder, content, out=out)
    say(console, f"Report: {paths.html}")


def publish(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the copy; it must not hold a run.")],
) -> None:
    """Copy a run without weights, curves and images.

    `lico-bench report` accepts the copy.
    """
    from lico_bench.store.files import check_is_run

    check_is_run(run)
    with loading("publish", "pandas"):
        from lico_bench.store import read_run
        from lico_bench.store.outputs import publish as publish_run

    copy = publish_run(read_run(run), folder)
    files = [path for path in copy.path.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    models = f"{len(copy.finished())} models"
    say(new_console(), f"{models}, {len(files)} files, {size:.1f} MB: {copy.path}")
