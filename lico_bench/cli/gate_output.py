"""What `check` and `compare` share: filters, the files they leave, and how they end."""

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

Metrics = Annotated[str | None, typer.Option(help="Judge these alone.")]
Methods = Annotated[str | None, typer.Option(help="Judge scores of these methods alone.")]
Junit = Annotated[Path | None, typer.Option(help="Write JUnit XML here.")]
Markdown = Annotated[Path | None, typer.Option(help="Write a pull-request comment here.")]
Annotations = Annotated[
    bool | None,
    typer.Option(
        "--annotations/--no-annotations",
        help="GitHub annotations and step summary; by default where GITHUB_ACTIONS is true.",
    ),
]


def end_with(
    verdict: Verdict, *, junit: Path | None, markdown: Path | None, annotations: bool | None
) -> None:
    """Print the verdict, leave its files, and exit with its code.

    Raises:
        InvalidInputError: for a file that cannot be written.
    """
    from lico_bench.cli.console import new_console
    from lico_bench.gate import github_annotations, junit_xml, verdict_table
    from lico_bench.gate import markdown as as_markdown
    from lico_bench.store import write_bytes

    new_console().print(verdict_table(verdict))
    comment = as_markdown(verdict).encode()
    if junit is not None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _written("--junit", junit, lambda: write_bytes(junit, junit_xml(verdict, timestamp=now)))
    if markdown is not None:
        _written("--markdown", markdown, lambda: write_bytes(markdown, comment))
    if os.environ.get("GITHUB_ACTIONS") == "true" if annotations is None else annotations:
        for line in github_annotations(verdict):
            print(line)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            _written("GITHUB_STEP_SUMMARY", Path(summary), lambda: _append(Path(summary), comment))
    raise typer.Exit(verdict.exit_code)


def _append(path: Path, content: bytes) -> None:
    """The summary belongs to the whole step: others may have written before."""
    with path.open("ab") as summary:
        summary.write(content)


def _written(option: str, path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise InvalidInputError(
            f"{option}: {path} cannot be written ({error.strerror or error}); name another file"
        ) from error
