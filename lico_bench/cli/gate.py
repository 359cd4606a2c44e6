"""`lico-bench check` and `lico-bench compare`: judge a run by a reference, or by another run."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli.console import loading, new_console
from lico_bench.cli.options import split_names
from lico_bench.errors import InvalidInputError

if TYPE_CHECKING:
    from lico_bench.gate import Verdict
    from lico_bench.store import RunFolder

Metrics = Annotated[
    str | None, typer.Option(help="Judge only these metrics, comma-separated. Default: all.")
]
Methods = Annotated[
    str | None, typer.Option(help="Judge only these methods, comma-separated. Default: all.")
]
Junit = Annotated[Path | None, typer.Option(help="Write a JUnit XML file.")]
Markdown = Annotated[Path | None, typer.Option(help="Write a pull-request comment (Markdown).")]
Annotations = Annotated[
    bool | None,
    typer.Option(
        "--annotations/--no-annotations",
        help="Write GitHub annotations and the step summary. Default: if GITHUB_ACTIONS is true.",
    ),
]


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
    _report_verdict(verdict, junit=junit, markdown=markdown, annotations=annotations)


def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="Baseline of the comparison: RUN or RUN:ARM.")
    ],
    second: Annotated[
        str | None,
        typer.Argument(
            metavar="[B]",
            help="Run that is compared with A: RUN or RUN:ARM. Default: the newest other run.",
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
    _report_verdict(verdict, junit=junit, markdown=markdown, annotations=annotations)


def _newest_run_except(first: str) -> str:
    """Return the newest run other than the run of `first`."""
    from lico_bench.store import newest_run

    named = {Path(first).resolve(), Path(first.rpartition(":")[0]).resolve()}

    def is_not_named(run: RunFolder) -> bool:
        return run.path.resolve() not in named

    return str(newest_run(accept=is_not_named).path)


def _report_verdict(
    verdict: Verdict, *, junit: Path | None, markdown: Path | None, annotations: bool | None
) -> None:
    """Print the verdict, write the requested files and exit with the verdict's code.

    Raises:
        InvalidInputError: if a file cannot be written.
    """
    from lico_bench.gate import github_annotations, junit_xml, verdict_table
    from lico_bench.gate import markdown as render_markdown
    from lico_bench.store import write_bytes

    new_console().print(verdict_table(verdict))
    comment = render_markdown(verdict).encode()
    if junit is not None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _write_file("--junit", junit, lambda: write_bytes(junit, junit_xml(verdict, timestamp=now)))
    if markdown is not None:
        _write_file("--markdown", markdown, lambda: write_bytes(markdown, comment))
    if os.environ.get("GITHUB_ACTIONS") == "true" if annotations is None else annotations:
        for line in github_annotations(verdict):
            print(line)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            _write_file(
                "GITHUB_STEP_SUMMARY", Path(summary), lambda: _append(Path(summary), comment)
            )
    raise typer.Exit(verdict.exit_code)


def _append(path: Path, content: bytes) -> None:
    """Append to the step summary, which other commands of the step may have written to."""
    with path.open("ab") as summary:
        summary.write(content)


def _write_file(option: str, path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise InvalidInputError(
            f"{option}: {path} cannot be written ({error.strerror or error}); name another file"
        ) from error
