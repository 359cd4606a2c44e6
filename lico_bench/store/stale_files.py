"""What killed processes leave half-written, and whose it is.

No clock decides: clocks jump, and differ between machines. Only the holder of a run's lock writes
below `cells`, so whoever holds it may clear everything there. Beside `cells` a `report` may be at
work without the lock; its drafts are named after their machine and process and are cleared when
that process is gone, which can be known of this machine alone. A draft of another machine stays:
it is small, and nothing ever reads it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path

STALE_FILES = (".*.part", ".*.old")  # a draft; what a draft was about to take the place of
_OWNER = re.compile(r"\.(?P<host>\w+)-(?P<pid>[0-9]+)\.[^.]*\.(part|old)$")


def part_prefix(name: str) -> str:
    """How the name of a temporary file starts that will be called `name`: with who writes it."""
    return f".{name}.{_host()}-{os.getpid()}."


def remove_stale_files(folder: Path, *, alone: bool = True) -> None:
    """Remove what killed processes left half-written in a run folder.

    Args:
        alone: whether no other process can be writing below `cells`: the run's lock is held.
    """
    cells = folder / "cells"
    for part in [found for pattern in STALE_FILES for found in folder.rglob(pattern)]:
        if (alone and cells in part.parents) or _is_abandoned(part):
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)


def _is_abandoned(part: Path) -> bool:
    owner = _OWNER.search(part.name)
    return (
        owner is not None and owner["host"] == _host() and not is_process_alive(int(owner["pid"]))
    )


def is_process_alive(pid: int) -> bool:
    """Whether this machine runs a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True  # somebody else's; or a number that no process has, which nobody clears
    return True


def _host() -> str:
    return re.sub(r"\W", "_", socket.gethostname())
