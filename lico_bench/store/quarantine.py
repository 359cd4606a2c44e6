"""Damaged files, and their quarantine: they keep their names below RUN/damaged/<cell>/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lico_bench.store.run_location import check_inside

DAMAGED = "damaged"


@dataclass(frozen=True)
class Damage:
    """A damaged, missing or foreign file of a run folder."""

    file: Path
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


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
