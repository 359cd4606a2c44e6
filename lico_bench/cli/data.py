"""`lico-bench data`: download, verify and locate datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli import arguments
from lico_bench.cli.console import loading, new_console, say
from lico_bench.cli.exit_codes import DAMAGED

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.data.verification import SplitReport

data = typer.Typer(help="Download, verify and locate datasets.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Dataset; see `lico-bench ls datasets`.")]


@data.command()
def fetch(name: Name, data_root: arguments.DataRoot = None) -> None:
    """Download and check the official files, or print manual steps."""
    from lico_bench.data import load_card

    load_card(name, data_root)
    with loading("data fetch", "numpy"):
        from rich.progress import Progress

        from lico_bench.data import fetch as fetch_dataset

    console = new_console()
    with Progress(console=console, transient=True) as bars:
        tasks = {}

        def show(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
                if not console.is_terminal:
                    say(console, f"  downloading {file}")
            bars.update(tasks[file], completed=done, total=total)

        fetched = fetch_dataset(name, data_root, show)
    say(console, *(f"  checked: {path}" for path in fetched.files))
    if fetched.steps:
        steps = (f"  {number}. {step}" for number, step in enumerate(fetched.steps, 1))
        say(console, f"{name} must be downloaded by hand:", *steps)


@data.command()
def verify(name: Name, data_root: arguments.DataRoot = None) -> None:
    """Count and decode all images; list unreadable files.

    Exit codes: 0 intact, 7 unreadable files, 2 bad input.
    """
    from rich.progress import Progress

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
    say(console, f"{name}: {report.copy.folder}")
    for split in report.splits:
        _show(split, console)
    if not report.is_sound:
        raise typer.Exit(DAMAGED)


@data.command()
def where(name: Name, data_root: arguments.DataRoot = None) -> None:
    """Print where a dataset is searched and which copy is found."""
    from lico_bench.data import locate_dataset

    console = new_console()
    location = locate_dataset(name, data_root)
    searched = ", ".join(str(folder) for folder in location.searched_folders) or "no data root"
    copy = location.copy
    found = "nothing" if copy is None else f"{copy.folder} ({copy.layout})"
    for label, text in (("searched", searched), ("expected", location.expects), ("found", found)):
        say(console, f"{label:10} {text}")


def _show(split: SplitReport, console: Console) -> None:
    regions = f", {split.num_regions:,} regions" if split.num_regions else ""
    counts = f"{split.found_count:,} of {split.official_count:,} images{regions}"
    say(console, f"  {split.split}: {counts}, {len(split.broken)} broken")
    say(console, *(f"    {sentence}" for sentence in (*split.broken, *split.notes)))
