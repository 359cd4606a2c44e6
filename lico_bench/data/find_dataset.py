"""Location of dataset files and choice between real images and stand-ins; imports no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lico_bench.checks import check_choice
from lico_bench.data.cards import DatasetCard, load_card
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.records import Source
from lico_bench.runtime import data_root

CLASS_FOLDERS = "class_folders"
HUB_PARQUET = "hub_parquet"


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
    check_choice("data", data, ("auto", "real", "standin"))
    card = load_card(name, root)
    if data == "standin":
        if card.standin is None:
            raise MissingDataError(
                f"{card.title}: its card declares no stand-in; "
                "add a [standin] table or use --data real"
            )
        return "standin"
    if find_copy(card, root) is not None:
        return "real"
    if data == "real" or card.standin is None:
        raise missing_copy_error(card, root)
    return "standin"


def locate_dataset(name: str, root: str | os.PathLike[str] | None = None) -> DatasetLocation:
    """Search for a copy of the dataset `name`."""
    card = load_card(name, root)
    return DatasetLocation(name, folders(card, root), find_copy(card, root), card.expects)


def folders(card: DatasetCard, root: str | os.PathLike[str] | None) -> tuple[Path, ...]:
    """Return the folders searched for a copy: the dataset's folder, then the data root."""
    base = data_root(root)
    return () if base is None else (base / card.name, base)


def find_copy(card: DatasetCard, root: str | os.PathLike[str] | None) -> DatasetCopy | None:
    """Find the copy of the dataset under the data root, in its official or a generic layout.

    Raises:
        BrokenFileError: if a folder cannot be read.
    """
    for folder in folders(card, root):
        try:
            copy = _find_copy_in(card, folder)
        except OSError as error:
            raise BrokenFileError(
                f"{error.filename or folder}: cannot be read ({error.strerror}); "
                "change its permissions, or name another folder with --data-root"
            ) from error
        if copy is not None:
            return copy
    return None


def missing_copy_error(card: DatasetCard, root: str | os.PathLike[str] | None) -> MissingDataError:
    """Build the error for a missing dataset, with the searched folders and expected layouts."""
    searched = " and ".join(str(folder) for folder in folders(card, root)) or "no data root"
    return MissingDataError(
        f"{card.title}: no images found in {searched}; expected {card.expects}, "
        "or train/<class>/* and test/<class>/*, or train-*.parquet and test-*.parquet; "
        f"see `lico-bench data fetch {card.name}`, or use stand-ins with --data standin"
    )


def _find_copy_in(card: DatasetCard, folder: Path) -> DatasetCopy | None:
    if not folder.is_dir():
        return None
    # Raises if the folder is not readable; glob would return nothing.
    next(folder.iterdir(), None)
    if any(next(folder.glob(pattern), None) is not None for pattern in card.markers):
        return DatasetCopy(card.layout, folder)
    # Generic layouts do not identify the dataset, so the folder name must.
    if re.fullmatch(rf"{re.escape(card.name)}([_-].*)?", folder.resolve().name) is None:
        return None
    if next(_parquet_files(folder), None) is not None:
        return DatasetCopy(HUB_PARQUET, folder)
    if _has_class_folders(folder):
        return DatasetCopy(CLASS_FOLDERS, folder)
    return None


def _parquet_files(folder: Path) -> Iterator[Path]:
    for parent in (folder, folder / "data"):
        for split in ("train", "test", "validation"):
            yield from parent.glob(f"{split}-*.parquet")


def _has_class_folders(folder: Path) -> bool:
    for split in ("train", "test", "val"):
        split_folder = folder / split
        if split_folder.is_dir() and any(entry.is_dir() for entry in split_folder.iterdir()):
            return True
    return False
