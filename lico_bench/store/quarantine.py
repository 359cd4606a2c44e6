"""Quarantine of damaged files: they are moved to RUN/damaged/<cell>/ and keep their names."""

from __future__ import annotations

from pathlib import Path

from lico_bench.store.untrusted import check_inside

DAMAGED = "damaged"


def quarantine(root: Path, path: Path) -> Path:
    """Move a file or folder of the run at `root` to RUN/damaged without overwriting anything.

    Returns:
        The path in RUN/damaged, also if `path` does not exist.
    """
    target = quarantine_path(root, path)
    if path.exists() or path.is_symlink():
        check_inside(root, target.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    return target


def quarantine_path(root: Path, path: Path) -> Path:
    """Return an unused path for `path` in RUN/damaged, numbered if the name is taken."""
    relative = path.relative_to(root)
    relative = Path(*relative.parts[1:]) if relative.parts[0] == "cells" else relative
    target, number = root / DAMAGED / relative, 1
    while target.exists() or target.is_symlink():
        number += 1
        target = target.with_name(f"{relative.name}.{number}")
    return target
