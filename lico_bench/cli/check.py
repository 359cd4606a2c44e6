"""`lico-bench check`: compare a run with reference scores in continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lico_bench.cli.console import loading
from lico_bench.cli.gate_output import (
    Annotations,
    Junit,
    Markdown,
    Methods,
    Metrics,
    report_verdict,
)
from lico_bench.cli.suite_options import split_names


def check(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Run folder; several folders are trainings of the same models."
        ),
    ],
    against: Annotated[Path, typer.Option(help="CSV file of reference scores.")],
    update: Annotated[
        bool,
        typer.Option("--update", help="Write the scores as the reference and show the changes."),
    ] = False,
    margin: Annotated[
        float | None,
        typer.Option(help="Largest allowed loss of every mean. Default: the reference's margins."),
    ] = None,
    metrics: Metrics = None,
    methods: Methods = None,
    junit: Junit = None,
    markdown: Markdown = None,
    annotations: Annotations = None,
) -> None:
    """Compare scores with a reference and fail if one is worse.

    A score fails if it is worse than its reference by more than its margin.
    Exit codes: 0 pass, 1 regression, 3 inconclusive, 4 not comparable, 2 bad input.
    """
    from lico_bench.store.files import check_is_run

    for run in runs:
        check_is_run(run)
    with loading("check", "pandas"):
        from lico_bench.cli.console import new_console
        from lico_bench.gate import Selection, join_trainings, update_reference, update_table
        from lico_bench.gate import check as judge
        from lico_bench.store import read_run

    scores = join_trainings([read_run(run) for run in runs])
    only = Selection(split_names(metrics or ""), split_names(methods or ""))
    if update:
        change = update_reference(scores, against, margin=margin, only=only)
        new_console().print(update_table(change))
        print(f"Reference: {against}")
        return
    verdict = judge(scores, reference=against, margin=margin, only=only)
    report_verdict(verdict, junit=junit, markdown=markdown, annotations=annotations)
