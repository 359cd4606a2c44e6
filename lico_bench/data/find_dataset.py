"""Location of dataset files and choice between real images and stand-ins; imports no torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lico_bench.checks import check_choice
from lico_bench.data.cards import DatasetCard, StandinFacts, load_card
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.records import Source
from lico_bench.runtime import data_root

CLASS_FOLDERS = "class_folders"
HUB_PARQUET = "hub_parquet"
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
        try:
            layout = _layout_of(folder, card)
        except OSError as error:
            raise BrokenFileError(
                f"{error.filename or folder}: cannot be read ({error.strerror}); "
                "change its permissions, or name another folder with --data-root"
            ) from error
        if layout is not None:
            return DatasetCopy(layout, folder)
    return None


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
