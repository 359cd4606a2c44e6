"""`lico-bench publish`: copy a run without weights and images, small enough for a repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lico_bench.cli.console import loading


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
        from lico_bench.cli.console import new_console
        from lico_bench.store import read_run
        from lico_bench.store.outputs import publish as publish_run

    copy = publish_run(read_run(run), folder)
    files = [path for path in copy.path.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    new_console().print(
        f"{len(copy.finished())} models, {len(files)} files, {size:.1f} MB: {copy.path}",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
