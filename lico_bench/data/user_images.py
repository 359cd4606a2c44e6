"""Search of a folder for user images, and reading of class name lists; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lico_bench.checks import LONGEST_TITLE, find_duplicate, is_title
from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff", ".gif")
SPLIT_NAMES = {"train", "val", "valid", "test"}


class FoundImages(NamedTuple):
    """Images found in a folder.

    Attributes:
        top_level: images directly in the folder.
        by_class: images of each subfolder, also of those without images; empty if no subfolder
            has images.
    """

    folder: Path
    top_level: list[Path]
    by_class: dict[str, list[Path]]


def find_images(folder: Path) -> FoundImages:
    """Find the images in `folder` and its class folders, sorted, without hidden entries.

    Raises:
        MissingDataError: if the folder does not exist or has no images.
        InvalidInputError: if the subfolders are splits or a name cannot be printed.
    """
    if not folder.is_dir():
        raise MissingDataError(f"no such folder: {folder}; correct --images")
    folder = folder.resolve()
    top_level = sorted(f for f in folder.iterdir() if _is_image(f))
    subfolders = sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    by_class = {f.name: sorted(filter(_is_image, f.rglob("*"))) for f in subfolders}
    if not any(by_class.values()):
        by_class = {}
    if not top_level and not by_class:
        raise MissingDataError(
            f"{folder}: no images ({', '.join(SUFFIXES)}) in it or in class folders below it; "
            "correct --images"
        )
    for name in (folder.name, *by_class):  # folder names become class names in reports
        if name and not is_title(name):
            raise InvalidInputError(
                f"{folder}: folder name '{name}' is too long, has control characters or is not "
                "valid UTF-8; rename it"
            )
    if by_class and {name.lower() for name in by_class} <= SPLIT_NAMES:
        raise InvalidInputError(
            f"{folder}: its folders are splits ({', '.join(by_class)}), expected classes; pass "
            f"one of them, --images {folder / [*by_class][-1]}"
        )
    return FoundImages(folder, top_level, by_class)


def _is_image(file: Path) -> bool:
    """Whether `file` has an image suffix and is a regular file or a broken link."""
    has_image_name = file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    return has_image_name and (file.is_file() or (file.is_symlink() and not file.exists()))


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names, one per line, in index order.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is not text, has no names, or has a duplicate or unprintable name.
    """
    if not path.is_file():
        raise MissingDataError(f"no such file: {path}; correct --classes")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BrokenFileError(
            f"{path}: expected UTF-8 text with one class name per line; save the file as UTF-8"
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise BrokenFileError(f"{path}: expected one class name per line, got none; add the names")
    invalid = next((name for name in names if not is_title(name)), None)
    if invalid is not None:
        raise BrokenFileError(
            f"{path}: expected names of at most {LONGEST_TITLE} characters without control "
            f"characters, got '{invalid[:60]}'; correct that line"
        )
    duplicate = find_duplicate(names)
    if duplicate is not None:
        raise BrokenFileError(
            f"{path}: class name '{duplicate}' occurs twice; rename one, for example by a number"
        )
    return names
