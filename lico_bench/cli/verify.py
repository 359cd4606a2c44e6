"""`lico-bench verify`: check the files of a run and recompute a sample of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli import arguments
from lico_bench.cli.console import loading, new_console, say, working
from lico_bench.cli.exit_codes import DAMAGED

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench.recompute import SampleResult
    from lico_bench.bench.verify_run import Findings


def verify(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    sample: Annotated[
        int, typer.Option(min=0, help="Number of rows to recompute from stored weights and data.")
    ] = 0,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Move damaged files to RUN/damaged; repeat `run` to write them again."
        ),
    ] = False,
    data_root: arguments.DataRoot = None,
    device: Annotated[
        str, typer.Option(help="With --sample: auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
) -> None:
    """Check every file of a run against its checksum.

    Exit codes: 0 intact, 7 damaged or recomputed values differ, 2 bad input.
    """
    from lico_bench.store.files import check_is_run

    if not (run / "cells").is_dir():  # a damaged run may have lost its manifest
        check_is_run(run)
    with loading("verify", "pandas"):
        from rich.progress import Progress

        from lico_bench.bench.verify_run import repair as quarantine_damaged
        from lico_bench.bench.verify_run import verify_run
        from lico_bench.store import RunFolder

    console, folder = new_console(), RunFolder(run)
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("checking", total=None)
        findings = verify_run(
            folder, progress=lambda n, of: bars.update(task, completed=n, total=of)
        )
    _print_findings(findings, console)
    if repair and findings.damages:
        moved = quarantine_damaged(folder, findings)
        say(console, *(f"  moved to {path}" for path in dict.fromkeys(moved.values())))
    if not findings.is_intact:
        raise typer.Exit(DAMAGED)
    if sample:
        _recompute(folder.path, sample, data_root, device, console)


def _recompute(
    run: Path, num_rows: int, data_root: Path | None, device: str, console: Console
) -> None:
    with working(console, f"Recomputing {num_rows:,} rows"):
        from lico_bench.bench.recompute import recompute_sample
        from lico_bench.store import read_run

        sampled = recompute_sample(read_run(run), num_rows, root=data_root, device=device)
    _print_sample(sampled, console)
    if not sampled.is_within:
        raise typer.Exit(DAMAGED)


def _print_findings(findings: Findings, console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    if findings.busy:
        say(
            console,
            f"{findings.busy} is using this run; files that it is writing may be listed below",
        )
    say(
        console,
        f"{findings.cells} finished cells, {findings.num_files:,} files, "
        f"{findings.num_bytes / 1e6:,.1f} MB checked; {len(findings.damages)} damaged",
    )
    if findings.unchecked:
        say(
            console,
            f"{len(findings.unchecked)} cells have no checksums (written by an older version); "
            f"only their tables and weights were read: {', '.join(findings.unchecked)}",
        )
    if findings.unfinished:
        cells = ", ".join(findings.unfinished)
        say(console, f"{len(findings.unfinished)} unfinished cells: {cells}")
    if findings.damages:
        table = Table()
        table.add_column("damaged file", overflow="fold")
        table.add_column("problem", overflow="fold")
        for damage in findings.damages:
            table.add_row(escape(str(damage.file)), escape(damage.problem))
        console.print(table)
        say(
            console,
            "Repeat the command that made this run: it moves these files to RUN/damaged and "
            "writes them again.",
        )


def _print_sample(sampled: SampleResult, console: Console) -> None:
    from rich.table import Table

    from lico_bench.bench.recompute import TOLERANCE

    table = Table(title="recomputed rows")
    for heading in ("metric", "rows", "largest deviation", f"beyond {TOLERANCE:g}"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for deviation in sampled.deviations:
        table.add_row(
            deviation.metric,
            str(deviation.num_rows),
            f"{deviation.largest:.3g}",
            str(deviation.num_beyond),
        )
    console.print(table)
    say(console, *(f"not recomputed: {note}" for note in sampled.notes))
