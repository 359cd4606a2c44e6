"""The first word of a command: that it is at work, before what takes seconds to import."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext


def loading(command: str, *libraries: str) -> AbstractContextManager[object]:
    """Say that `command` imports `libraries` inside the block: a spinner, or a line in a log.

    Nothing is said where they are imported already. It goes to stderr: what a command prints may
    be read by a program.
    """
    missing = [library for library in libraries if library not in sys.modules]
    if not missing:
        return nullcontext()
    told = f"lico-bench {command}: loading {' and '.join(missing)}"
    if sys.stderr.isatty():
        from rich.console import Console

        return Console(stderr=True, emoji=False).status(told)
    print(told, file=sys.stderr, flush=True)
    return nullcontext()
