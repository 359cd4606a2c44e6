"""Consoles that print file and model names literally."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def new_console(*, stderr: bool = False) -> Console:
    """Return a console that does not replace text between colons (`net.py:one`) by an emoji."""
    from rich.console import Console

    return Console(stderr=stderr, emoji=False)
