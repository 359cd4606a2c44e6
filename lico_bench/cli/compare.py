"""`lico-bench compare`: two runs, or two arms, paired by image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli.gate_output import Annotations, Junit, Markdown, Methods, Metrics, end_with
from lico_bench.cli.loading import loading
from lico_bench.cli.options import split_names

if TYPE_CHECKING:
    from lico_bench.store import RunFolder


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="RUN or RUN:ARM, as it was.")],
    second: Annotated[
        str | None,
        typer.Argument(metavar="[B]", help="RUN or RUN:ARM, as it is; the newest run by default."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="How much worse a mean may be; by default the smallest effect that matters."
        ),
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="Compare on the seeds and images that both have.")
    ] = False,
    metrics: Metrics = None,
    methods: Methods = None,
    junit: Junit = None,
    markdown: Markdown = None,
    annotations: Annotations = None,
) -> None:
    """Say of each score whether B is better or worse than A, image by image.

    Exit codes: 0 no worse, 1 regression, 3 inconclusive, 4 not comparable, 2 bad input.
    """
    from lico_bench.store.run_location import check_is_run, split_side

    for side in filter(None, (first, second)):
        check_is_run(split_side(side)[0])
    with loading("compare", "pandas"):
        from lico_bench.gate import Selection, read_side
        from lico_bench.gate import compare as judge

    before = read_side(first)
    verdict = judge(
        before,
        read_side(_newest_but(first) if second is None else second),
        margin=margin,
        is_shared=shared,
        only=Selection(split_names(metrics or ""), split_names(methods or "")),
    )
    end_with(verdict, junit=junit, markdown=markdown, annotations=annotations)


def _newest_but(first: str) -> str:
    """The newest run that is not the one already named."""
    from lico_bench.store import newest_run

    named = {Path(first).resolve(), Path(first.rpartition(":")[0]).resolve()}

    def is_other(run: RunFolder) -> bool:
        return run.path.resolve() not in named

    return str(newest_run(accept=is_other).path)
