"""Options and output that `check` and `compare` share."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.errors import InvalidInputError

if TYPE_CHECKING:
    from lico_bench.gate import Verdict

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


def report_verdict(
    verdict: Verdict, *, junit: Path | None, markdown: Path | None, annotations: bool | None
) -> None:
    """Print the verdict, write the requested files and exit with the verdict's code.

    Raises:
        InvalidInputError: if a file cannot be written.
    """
    from lico_bench.cli.console import new_console
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
