"""`lico-bench check`: the gate for continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lico_bench.cli.gate_output import Annotations, Junit, Markdown, Methods, Metrics, end_with
from lico_bench.cli.loading import loading
from lico_bench.cli.options import split_names


def check(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="A run folder; several are other trainings of it."),
    ],
    against: Annotated[Path, typer.Option(help="Reference scores, baselines/ci/NAME.csv.")],
    update: Annotated[
        bool, typer.Option("--update", help="Write the scores as the reference; show what moved.")
    ] = False,
    margin: Annotated[
        float | None, typer.Option(help="How much worse a mean may be, for every score alike.")
    ] = None,
    metrics: Metrics = None,
    methods: Methods = None,
    junit: Junit = None,
    markdown: Markdown = None,
    annotations: Annotations = None,
) -> None:
    """Fail when saliency scores got worse than the reference.

    Exit codes: 0 pass, 1 regression, 3 inconclusive, 4 not comparable, 2 bad input.
    """
    from lico_bench.store.run_location import check_is_run

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
        done = update_reference(scores, against, margin=margin, only=only)
        new_console().print(update_table(done))
        print(f"reference written: {against}")
        return
    verdict = judge(scores, reference=against, margin=margin, only=only)
    end_with(verdict, junit=junit, markdown=markdown, annotations=annotations)
