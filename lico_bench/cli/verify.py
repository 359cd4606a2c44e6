"""`lico-bench verify`: is a run folder what was written, and does it compute again?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli.exit_codes import DAMAGED
from lico_bench.cli.loading import loading

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench.recompute import Sampled
    from lico_bench.bench.verify_run import Findings


def verify(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    sample: Annotated[
        int, typer.Option(min=0, help="Rows to compute again from stored weights and data.")
    ] = 0,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Set damaged files aside in RUN/damaged, to be made anew."),
    ] = False,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder with the datasets; else LICO_BENCH_DATA.")
    ] = None,
    device: Annotated[str, typer.Option(help="For --sample: auto, cpu, cuda, mps.")] = "auto",
) -> None:
    """Check every file of a run against its checksum; exit 7 and name each that is damaged.

    Exit codes: 0 whole, 7 damaged or computed otherwise, 2 bad input.
    """
    from lico_bench.store.run_location import check_is_run

    if not (run / "cells").is_dir():  # a damaged run may have lost its manifest
        check_is_run(run)
    with loading("verify", "pandas"):
        from rich.progress import Progress

        from lico_bench.bench.verify_run import repair as set_damaged_aside
        from lico_bench.bench.verify_run import verify_run
        from lico_bench.cli.console import new_console
        from lico_bench.store import RunFolder

    console, folder = new_console(), RunFolder(run)
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("checking", total=None)
        found = verify_run(folder, progress=lambda n, of: bars.update(task, completed=n, total=of))
    _show(found, console)
    if repair and found.damages:
        _show_places(set_damaged_aside(folder, found), console)
    if not found.is_whole:
        raise typer.Exit(DAMAGED)
    if sample:
        _sample(folder.path, sample, data_root, device, console)


def _sample(
    run: Path, num_rows: int, data_root: Path | None, device: str, console: Console
) -> None:
    from lico_bench.cli.progress import working

    with working(console, f"Computing {num_rows:,} rows again"):
        from lico_bench.bench.recompute import recompute_sample
        from lico_bench.store import read_run

        sampled = recompute_sample(read_run(run), num_rows, root=data_root, device=device)
    _show_sample(sampled, console)
    if not sampled.is_within:
        raise typer.Exit(DAMAGED)


def _show(found: Findings, console: Console) -> None:
    from rich.table import Table

    if found.busy:
        _say(console, f"{found.busy}: at work here; what it is writing now may be named below")
    _say(
        console,
        f"{found.cells} finished cells, {found.num_files:,} files, "
        f"{found.num_bytes / 1e6:,.1f} MB checked; {len(found.damages)} damaged",
    )
    if found.unchecked:
        _say(
            console,
            f"{len(found.unchecked)} cells were stored without checksums, by a version before "
            f"these were; only their tables and weights were read: {', '.join(found.unchecked)}",
        )
    if found.unfinished:
        _say(console, f"{len(found.unfinished)} not finished: {', '.join(found.unfinished)}")
    if found.damages:
        table = Table()
        table.add_column("damaged file", overflow="fold")
        table.add_column("what is wrong", overflow="fold")
        for damage in found.damages:
            table.add_row(_plain(str(damage.file)), _plain(damage.problem))
        console.print(table)
        _say(
            console,
            "repeat the command that made this run: it sets these files aside and makes them anew",
        )


def _show_places(places: dict[Path, Path], console: Console) -> None:
    for place in dict.fromkeys(places.values()):
        _say(console, f"  set aside: {place}")


def _show_sample(sampled: Sampled, console: Console) -> None:
    from rich.table import Table

    from lico_bench.bench.recompute import TOLERANCE

    table = Table(title="computed again")
    for heading in ("metric", "rows", "largest deviation", f"beyond {TOLERANCE:g}"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for one in sampled.deviations:
        table.add_row(one.metric, str(one.num_rows), f"{one.largest:.3g}", str(one.num_beyond))
    console.print(table)
    for note in sampled.notes:
        _say(console, f"not computed again: {note}")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _say(console: Console, sentence: str) -> None:
    console.print(sentence, highlight=False, markup=False, soft_wrap=True)
