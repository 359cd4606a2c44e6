"""`lico-bench data`: bring a dataset here, check a copy, say where it is looked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli.exit_codes import DAMAGED
from lico_bench.cli.loading import loading

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.data.verification import SplitReport

data = typer.Typer(help="Fetch, verify and locate datasets.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A dataset. See `ls datasets`.")]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder with the datasets; else LICO_BENCH_DATA.")
]


@data.command()
def fetch(name: Name, data_root: DataRoot = None) -> None:
    """Download the official files with their checksums, or say how to get them by hand."""
    from lico_bench.data import load_card

    load_card(name, data_root)
    with loading("data fetch", "numpy"):
        from rich.progress import Progress

        from lico_bench.cli.console import new_console
        from lico_bench.data import fetch as fetch_dataset

    console = new_console()
    with Progress(console=console, transient=True) as bars:
        tasks = {}

        def show(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
                if not console.is_terminal:
                    console.print(f"  fetching {file}", highlight=False, markup=False)
            bars.update(tasks[file], completed=done, total=total)

        fetched = fetch_dataset(name, data_root, show)
    for path in fetched.files:
        console.print(f"  checked: {path}", highlight=False, markup=False, soft_wrap=True)
    if fetched.steps:
        console.print(f"{name} must be fetched by hand:", highlight=False, markup=False)
        for number, step in enumerate(fetched.steps, 1):
            console.print(f"  {number}. {step}", highlight=False, markup=False, soft_wrap=True)


@data.command()
def verify(name: Name, data_root: DataRoot = None) -> None:
    """Count, and decode every image; exit 7 and name each file that is broken."""
    from rich.progress import Progress

    from lico_bench.cli.console import new_console
    from lico_bench.data import load_card

    load_card(name, data_root)
    with loading("data verify", "torch"):
        from lico_bench.data import verify_dataset

    console = new_console()
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task(name, total=None)
        report = verify_dataset(
            name,
            root=data_root,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    console.print(f"{name}: {report.found.folder}", highlight=False, markup=False, soft_wrap=True)
    for split in report.splits:
        _show(split, console)
    if not report.is_sound:
        raise typer.Exit(DAMAGED)


@data.command()
def where(name: Name, data_root: DataRoot = None) -> None:
    """Say where a dataset is looked for, what is expected there, and what was found."""
    from lico_bench.cli.console import new_console
    from lico_bench.data import where as find

    console = new_console()
    place = find(name, data_root)
    looked = ", ".join(str(folder) for folder in place.looked_in) or "no data root"
    found = "nothing" if place.found is None else f"{place.found.folder} ({place.found.layout})"
    for label, text in (("looked in", looked), ("expected", place.expects), ("found", found)):
        console.print(f"{label:10} {text}", highlight=False, markup=False, soft_wrap=True)


def _show(split: SplitReport, console: Console) -> None:
    regions = f", {split.num_regions:,} regions" if split.num_regions else ""
    counts = f"{split.found_count:,} of {split.official_count:,} images{regions}"
    message = f"  {split.split}: {counts}, {len(split.broken)} broken"
    console.print(message, highlight=False, markup=False)
    for sentence in (*split.broken, *split.notes):
        console.print(f"    {sentence}", highlight=False, markup=False, soft_wrap=True)
