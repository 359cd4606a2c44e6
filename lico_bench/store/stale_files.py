"""Removal of temporary files that killed processes left in a run folder.

File times are not used, because clocks jump and differ between machines. Only the holder of the
run's lock writes below `cells`, so it may remove all temporary files there. A `report` writes
elsewhere without the lock. Its temporary files carry host and process id, and are removed when that
process has ended, which can be checked on the same host only. Temporary files of other hosts are
kept; they are small and never read.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path

STALE_FILES = (".*.part", ".*.old")  # a temporary file; a folder that was being replaced
_OWNER = re.compile(r"\.(?P<host>\w+)-(?P<pid>[0-9]+)\.[^.]*\.(part|old)$")


def part_prefix(name: str) -> str:
    """Return the prefix of temporary files for `name`, with host and process id."""
    return f".{name}.{_host()}-{os.getpid()}."


def remove_stale_files(folder: Path, *, alone: bool = True) -> None:
    """Remove temporary files of killed processes from a run folder.

    Args:
        alone: whether the run's lock is held, so that no other process writes below `cells`.
    """
    cells = folder / "cells"
    for path in [found for pattern in STALE_FILES for found in folder.rglob(pattern)]:
        if (alone and cells in path.parents) or _is_abandoned(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_abandoned(path: Path) -> bool:
    owner = _OWNER.search(path.name)
    return (
        owner is not None and owner["host"] == _host() and not is_process_alive(int(owner["pid"]))
    )


def is_process_alive(pid: int) -> bool:
    """Return whether a process with this id runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True  # a process of another user, or an invalid id: keep the file
    return True


def _host() -> str:
    return re.sub(r"\W", "_", socket.gethostname())
