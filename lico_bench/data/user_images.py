"""The files of a user's own images and the names of their classes, unread: no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lico_bench.checks import LONGEST_TITLE, is_title
from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff", ".gif")
SPLIT_NAMES = {"train", "val", "valid", "test"}


class FoundImages(NamedTuple):
    """What lies in a folder: images beside each other, and folders that hold some."""

    folder: Path
    loose: list[Path]
    class_folders: list[Path]


def find_images(folder: Path) -> FoundImages:
    """The images in `folder` and the class folders with images below it.

    Raises:
        MissingDataError: if there is no such folder or no image in it.
        InvalidInputError: for folders that are no classes.
    """
    if not folder.is_dir():
        raise MissingDataError(f"no such folder: {folder}; correct --images")
    folder = folder.resolve()
    loose = images_in(folder, deep=False)
    class_folders = [f for f in folders_in(folder) if images_in(f, deep=True)]
    if not loose and not class_folders:
        raise MissingDataError(
            f"{folder}: no images ({', '.join(SUFFIXES)}) in it or in class folders below it; "
            "correct --images"
        )
    _check_titles(folder, [folder.name, *(f.name for f in class_folders)])
    if class_folders:
        _refuse_splits(folder, [f.name for f in folders_in(folder)])
    return FoundImages(folder, loose, class_folders)


def folders_in(folder: Path) -> list[Path]:
    """The folders in `folder`, sorted, without hidden ones."""
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def images_in(folder: Path, *, deep: bool) -> list[Path]:
    """The images in `folder`, and in those below it if `deep`, sorted, without hidden ones."""
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(f for f in found if _is_image(f))


def _is_image(file: Path) -> bool:
    """Whether it has an image's name and is no folder, pipe or device; a lost link has."""
    is_named = file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    return is_named and (file.is_file() or (file.is_symlink() and not file.exists()))


def read_class_names(path: Path) -> tuple[str, ...]:
    """The names in a file of one per line, in index order.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is no text, names no class, or one twice.
    """
    if not path.is_file():
        raise MissingDataError(f"no such file: {path}; correct --classes")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{path}: expected text, one class name per line") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise BrokenFileError(f"{path}: expected one class name per line, got none")
    odd = next((name for name in names if not is_title(name)), None)
    if odd is not None:
        raise BrokenFileError(
            f"{path}: expected names of at most {LONGEST_TITLE} signs without control signs, got "
            f"'{odd[:60]}'; mend that line"
        )
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise BrokenFileError(f"{path}: the class '{twice}' is named twice; number one of them")
    return names


def _check_titles(folder: Path, names: Sequence[str]) -> None:
    """Raise unless names of folders can be shown: they become those of the classes."""
    for name in names:
        if name and not is_title(name):
            raise InvalidInputError(
                f"{folder}: a folder is called '{name}', with control signs or letters that are "
                "no UTF-8; rename it"
            )


def _refuse_splits(folder: Path, names: list[str]) -> None:
    if {name.lower() for name in names} <= SPLIT_NAMES:
        raise InvalidInputError(
            f"{folder}: its folders are splits ({', '.join(names)}), not classes; name one of "
            f"them, --images {folder / names[-1]}"
        )
