"""Search for copies of datasets and for a user's images and class names; imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lico_bench.checks import LONGEST_TITLE, check_choice, find_duplicate, is_title
from lico_bench.data.cards import DatasetCard, StandinFacts, load_card
from lico_bench.errors import BrokenFileError, InvalidInputError, LicoBenchError, MissingDataError
from lico_bench.records import Source
from lico_bench.runtime import data_root

CLASS_FOLDERS = "class_folders"
HUB_PARQUET = "hub_parquet"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff", ".gif")
PARQUET_STEMS = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}


@dataclass(frozen=True)
class DatasetCopy:
    """A copy of a dataset: the registry name of its reader and its folder."""

    layout: str
    folder: Path


@dataclass(frozen=True)
class DatasetLocation:
    """Search result for one dataset on this machine.

    Attributes:
        expects: description of the official layout.
    """

    name: str
    searched_folders: tuple[Path, ...]
    copy: DatasetCopy | None
    expects: str


def resolve_source(
    name: str, *, root: str | os.PathLike[str] | None = None, data: str = "auto"
) -> Source:
    """Resolve `data` (`auto`, `real` or `standin`) to `real` or `standin` for the dataset `name`.

    `auto` means real images if a copy is found, else the stand-in.

    Raises:
        MissingDataError: if real images are requested and missing, or there is no stand-in.
        BrokenFileError: if the dataset's folder cannot be read.
    """
    chosen = choose_images(load_card(name, root), root, data)
    return "real" if isinstance(chosen, DatasetCopy) else "standin"


def choose_images(
    card: DatasetCard, root: str | os.PathLike[str] | None, data: str
) -> DatasetCopy | StandinFacts:
    """Return the copy of a dataset, or the settings of its stand-in; see `resolve_source`."""
    check_choice("data", data, ("auto", "real", "standin"))
    copy = None if data == "standin" else find_copy(card, root)
    if copy is not None:
        return copy
    if data != "real" and card.standin is not None:
        return card.standin
    if data == "standin":
        raise MissingDataError(
            f"{card.title}: its card declares no stand-in; add a [standin] table or use --data real"
        )
    raise missing_copy_error(card, root)


def locate_dataset(name: str, root: str | os.PathLike[str] | None = None) -> DatasetLocation:
    """Search for a copy of the dataset `name`."""
    card = load_card(name, root)
    return DatasetLocation(name, _folders(card, root), find_copy(card, root), card.expects)


def find_copy(card: DatasetCard, root: str | os.PathLike[str] | None) -> DatasetCopy | None:
    """Find the copy of the dataset under the data root, in its official or a generic layout.

    Raises:
        BrokenFileError: if a folder cannot be read.
    """
    for folder in _folders(card, root):
        with reading(folder):
            layout = _layout_of(folder, card)
        if layout is not None:
            return DatasetCopy(layout, folder)
    return None


@contextmanager
def reading(folder: Path, option: str = "--data-root") -> Iterator[None]:
    """Convert an error of the operating system in the block to BrokenFileError.

    Args:
        folder, option: the folder read, and the option that names it, for the message.
    """
    try:
        yield
    except LicoBenchError:
        raise
    except OSError as error:
        raise BrokenFileError(
            f"{error.filename or folder}: cannot be read ({error.strerror or error}); "
            f"change its permissions, or name another folder with {option}"
        ) from error


def missing_copy_error(card: DatasetCard, root: str | os.PathLike[str] | None) -> MissingDataError:
    """Build the error for a missing dataset, with the searched folders and expected layouts."""
    searched = " and ".join(str(folder) for folder in _folders(card, root)) or "no data root"
    return MissingDataError(
        f"{card.title}: no images found in {searched}; expected {card.expects}, "
        "or train/<class>/* and test/<class>/*, or train-*.parquet and test-*.parquet; "
        f"see `lico-bench data fetch {card.name}`, or use stand-ins with --data standin"
    )


def parquet_files(folder: Path, split: str) -> list[Path]:
    """Return the Parquet files of a split, named as on the Hugging Face hub, sorted."""
    return sorted(
        path
        for parent in (folder, folder / "data")
        for stem in PARQUET_STEMS[split]
        for path in parent.glob(f"{stem}-*.parquet")
    )


def _folders(card: DatasetCard, root: str | os.PathLike[str] | None) -> tuple[Path, ...]:
    """Return the folders searched for a copy: the dataset's folder, then the data root."""
    base = data_root(root)
    return () if base is None else (base / card.name, base)


def _layout_of(folder: Path, card: DatasetCard) -> str | None:
    """Return the layout of the dataset's copy in `folder`; None if there is none."""
    if not folder.is_dir():
        return None
    # Raises if the folder is not readable; glob would return nothing.
    next(folder.iterdir(), None)
    if any(next(folder.glob(pattern), None) is not None for pattern in card.markers):
        return card.layout
    # Generic layouts do not identify the dataset, so the folder name must.
    if re.fullmatch(rf"{re.escape(card.name)}([_-].*)?", folder.resolve().name) is None:
        return None
    if any(parquet_files(folder, split) for split in PARQUET_STEMS):
        return HUB_PARQUET
    split_folders = [folder / split for split in ("train", "test", "val")]
    if any(f.is_dir() and any(entry.is_dir() for entry in f.iterdir()) for f in split_folders):
        return CLASS_FOLDERS
    return None


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
        BrokenFileError: if a folder cannot be read.
    """
    if not folder.is_dir():
        raise MissingDataError(f"no such folder: {folder}; correct --images")
    folder = folder.resolve()
    with reading(folder, "--images"):
        top_level = sorted(filter(_is_image, folder.iterdir()))
        by_class = images_by_class(folder)
    if not any(by_class.values()):
        by_class = {}
    if not top_level and not by_class:
        raise MissingDataError(
            f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) in it or in class folders below "
            "it; correct --images"
        )
    for name in (folder.name, *by_class):  # folder names become class names in reports
        if name and not is_title(name):
            raise InvalidInputError(
                f"{folder}: folder name '{name}' is too long, has control characters or is not "
                "valid UTF-8; rename it"
            )
    if by_class and {name.lower() for name in by_class} <= {"train", "val", "valid", "test"}:
        raise InvalidInputError(
            f"{folder}: its folders are splits ({', '.join(by_class)}), expected classes; pass "
            f"one of them, --images {folder / [*by_class][-1]}"
        )
    return FoundImages(folder, top_level, by_class)


def images_below(folder: Path) -> list[Path]:
    """Return the image files in `folder` and its subfolders, sorted, without hidden files.

    Broken links are included, so that reading reports them.

    Raises:
        OSError: if a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    found = (Path(base, name) for base, _, names in os.walk(folder, onerror=fail) for name in names)
    return sorted(filter(_is_image, found))


def images_by_class(folder: Path) -> dict[str, list[Path]]:
    """Return the images below each subfolder of `folder` by its name, sorted, without hidden ones.

    Raises:
        OSError: if a folder cannot be read.
    """
    subfolders = sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    return {subfolder.name: images_below(subfolder) for subfolder in subfolders}


def _is_image(file: Path) -> bool:
    has_image_name = file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
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
