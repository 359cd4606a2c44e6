"""`lico-bench check`: the gate for continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    against: Annotated[Path, typer.Option(help="Reference scores, baselines/ci/NAME.csv.")],
    update: Annotated[
        bool, typer.Option("--update", help="Write this run's scores as the reference.")
    ] = False,
) -> None:
    """Fail when saliency scores got worse than the reference.

    Exit codes: 0 pass, 1 regression, 3 inconclusive, 4 not comparable, 2 bad input.
    """
    from rich.console import Console

    from lico_bench.gate import check as judge
    from lico_bench.gate import verdict_table, write_reference
    from lico_bench.store import read_run

    folder = read_run(run)
    if update:
        write_reference(folder, against)
        print(f"reference written: {against}")
        return
    verdict = judge(folder, reference=against)
    Console().print(verdict_table(verdict))
    raise typer.Exit(verdict.exit_code)
