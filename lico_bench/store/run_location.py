"""Whether a folder is a run, told by the names in it alone: no table and no pandas."""

from __future__ import annotations

from pathlib import Path

from lico_bench.errors import InvalidInputError, MissingDataError

MANIFEST = "manifest.json"


def split_side(text: str) -> tuple[Path, str | None]:
    """The folder and the arm that `RUN` or `RUN:ARM` names; no arm where none is named."""
    folder, colon, arm = text.rpartition(":")
    if colon and arm and not Path(text).is_dir():
        return Path(folder), arm
    return Path(text), None


def check_is_run(folder: Path) -> None:
    """Raise unless `folder` has a manifest.

    Raises:
        MissingDataError: if it has none.
    """
    if not (folder / MANIFEST).is_file():
        raise MissingDataError(
            f"{folder} is not a run folder (no {MANIFEST}); name one that `lico-bench run` made"
        )


def check_out_folder(folder: Path | None) -> None:
    """Raise unless `folder` is one, or can be made; None stands for one that is chosen later.

    Raises:
        InvalidInputError: if it, or what it should lie in, is a file.
    """
    if folder is None:
        return
    there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        raise InvalidInputError(
            f"{there} is a file, so that a folder cannot be written there; choose another --out"
        )
