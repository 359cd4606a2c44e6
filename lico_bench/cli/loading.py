"""The first word of a command: that it is at work, before what takes seconds to import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from lico_bench.cli.console import new_console
from lico_bench.cli.environment import import_past_plot_settings


@contextmanager
def loading(command: str, *libraries: str) -> Iterator[None]:
    """Say that `command` imports `libraries` inside the block: a spinner, or a line in a log.

    Nothing is said where they are imported already. It goes to stderr: what a command prints may
    be read by a program.
    """
    missing = [library for library in libraries if library not in sys.modules]
    if not missing:
        yield
        return
    with _telling(f"lico-bench {command}: loading {' and '.join(missing)}"):
        import_past_plot_settings()
        yield


def _telling(what: str) -> AbstractContextManager[object]:
    if sys.stderr.isatty():
        return new_console(stderr=True).status(what)
    print(what, file=sys.stderr, flush=True)
    return nullcontext()
