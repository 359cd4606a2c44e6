"""Where damaged files of a run folder go: RUN/damaged/<cell>/, under the names they had."""

from __future__ import annotations

from pathlib import Path

from lico_bench.store.untrusted import check_inside

DAMAGED = "damaged"


def quarantine(root: Path, path: Path) -> Path:
    """Move a file or folder of the run at `root` out of the way; nothing there is overwritten.

    Returns:
        Where it is now, or would be if it was there.
    """
    place = quarantine_path(root, path)
    if path.exists() or path.is_symlink():
        check_inside(root, place.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    return place


def quarantine_path(root: Path, path: Path) -> Path:
    """The free name for `path` in RUN/damaged, with a number if need be."""
    inside = path.relative_to(root)
    inside = Path(*inside.parts[1:]) if inside.parts[0] == "cells" else inside
    place, number = root / DAMAGED / inside, 1
    while place.exists() or place.is_symlink():
        number += 1
        place = place.with_name(f"{inside.name}.{number}")
    return place
