"""Consoles, and the message that is shown while a command imports libraries for seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from lico_bench.cli.environment import import_figures_without_matplotlibrc

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def loading(command: str, *libraries: str) -> Iterator[None]:
    """Show on stderr that `command` imports `libraries` in the block: a spinner, or a log line.

    Nothing is shown if they are already imported. Stdout is left to the command's output, which
    programs may read.
    """
    missing = [library for library in libraries if library not in sys.modules]
    if not missing:
        yield
        return
    with _status(f"lico-bench {command}: loading {' and '.join(missing)}"):
        import_figures_without_matplotlibrc()
        yield


def _status(message: str) -> AbstractContextManager[object]:
    if sys.stderr.isatty():
        return new_console(stderr=True).status(message)
    print(message, file=sys.stderr, flush=True)
    return nullcontext()


def new_console(*, stderr: bool = False) -> Console:
    """Return a console that does not replace text between colons (`net.py:one`) by an emoji."""
    from rich.console import Console

    return Console(stderr=stderr, emoji=False)
