"""`lico-bench compare`: compare two runs, or two arms, paired by image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from lico_bench.store import RunFolder


def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="Baseline of the comparison: RUN or RUN:ARM.")
    ],
    second: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]", help="Compared with A: RUN or RUN:ARM. Default: the newest other run."
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="Largest allowed loss of every mean. Default: the metric's smallest effect."
        ),
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="Use only the seeds and images that both have.")
    ] = False,
    metrics: Metrics = None,
    methods: Methods = None,
    junit: Junit = None,
    markdown: Markdown = None,
    annotations: Annotations = None,
) -> None:
    """Compare the scores of B with those of A, paired by image.

    Exit codes: 0 not worse, 1 regression, 3 inconclusive, 4 not comparable, 2 bad input.
    """
    from lico_bench.store.files import check_is_run, split_side

    for side in filter(None, (first, second)):
        check_is_run(split_side(side)[0])
    with loading("compare", "pandas"):
        from lico_bench.gate import Selection, read_side
        from lico_bench.gate import compare as judge

    baseline = read_side(first)
    verdict = judge(
        baseline,
        read_side(_newest_run_except(first) if second is None else second),
        margin=margin,
        is_shared=shared,
        only=Selection(split_names(metrics or ""), split_names(methods or "")),
    )
    report_verdict(verdict, junit=junit, markdown=markdown, annotations=annotations)


def _newest_run_except(first: str) -> str:
    """Return the newest run other than the run of `first`."""
    from lico_bench.store import newest_run

    named = {Path(first).resolve(), Path(first.rpartition(":")[0]).resolve()}

    def is_not_named(run: RunFolder) -> bool:
        return run.path.resolve() not in named

    return str(newest_run(accept=is_not_named).path)
