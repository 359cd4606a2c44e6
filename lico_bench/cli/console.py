"""Where commands print: text as it is, whatever stands in the names of a user's things."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def new_console(*, stderr: bool = False) -> Console:
    """A console that takes no name between colons (`net.py:one`) for an image."""
    from rich.console import Console

    return Console(stderr=stderr, emoji=False)
