"""Quick checks of run and output folders and paths, without importing pandas."""

from __future__ import annotations

from pathlib import Path

from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.store.codec import REMEDY

MANIFEST = "manifest.json"


def split_side(text: str) -> tuple[Path, str | None]:
    """Split `RUN` or `RUN:ARM` into the folder and the arm, None if no arm is named."""
    folder, colon, arm = text.rpartition(":")
    if colon and arm and not Path(text).is_dir():
        return Path(folder), arm
    return Path(text), None


def check_is_run(folder: Path) -> None:
    """Raise unless `folder` has a manifest.

    Raises:
        MissingDataError: if it has no manifest.
    """
    if not (folder / MANIFEST).is_file():
        raise MissingDataError(
            f"{folder} is not a run folder (no {MANIFEST}); name one written by `lico-bench run`"
        )


def check_out_folder(folder: Path | None) -> None:
    """Raise unless `folder` is a folder or can be created; None (chosen later) passes.

    Raises:
        InvalidInputError: if it or one of its parents is a file.
    """
    if folder is None:
        return
    existing = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if existing is not None and not existing.is_dir():
        raise InvalidInputError(
            f"{existing} is a file, so a folder cannot be written there; choose another --out"
        )


def check_inside(root: Path, path: Path) -> None:
    """Raise if `path` is outside `root` or is reached through a link; `root` may be a link.

    Raises:
        BrokenFileError: naming the link.
    """
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise BrokenFileError(
                f"{part}: expected a file or folder of this run, got a link; replace the link by "
                "its target, or remove it"
            )
    raise BrokenFileError(f"{path}: expected a path inside {root}; {REMEDY}")
