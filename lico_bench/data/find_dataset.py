"""Where a dataset's files are, and whether real images or stand-ins are used. Imports no torch."""

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
class Found:
    """A copy of a dataset: the name of the reader that understands it and the folder to give it."""

    layout: str
    folder: Path


@dataclass(frozen=True)
class DatasetLocation:
    """What is known about one dataset's place on this machine."""

    name: str
    looked_in: tuple[Path, ...]
    found: Found | None
    expects: str


def resolve_source(
    name: str, *, root: str | os.PathLike[str] | None = None, data: str = "auto"
) -> Source:
    """`real` or `standin`: which images `data` means for the dataset `name` on this machine.

    Raises:
        MissingDataError: if real images are asked for and there are none, or neither exists.
        BrokenFileError: if the folder that should hold them cannot be read.
    """
    check_choice("data", data, ("auto", "real", "standin"))
    card = load_card(name, root)
    if data == "standin":
        return _standin(card)
    if find_copy(card, root) is not None:
        return "real"
    if data == "real" or card.standin is None:
        raise missing_copy(card, root)
    return "standin"


def where(name: str, root: str | os.PathLike[str] | None = None) -> DatasetLocation:
    """Where the dataset `name` was looked for and what was found there."""
    card = load_card(name, root)
    return DatasetLocation(name, folders(card, root), find_copy(card, root), card.expects)


def folders(card: DatasetCard, root: str | os.PathLike[str] | None) -> tuple[Path, ...]:
    """The folders in which a copy may lie: the dataset's own one, then the data root itself."""
    base = data_root(root)
    return () if base is None else (base / card.name, base)


def find_copy(card: DatasetCard, root: str | os.PathLike[str] | None) -> Found | None:
    """The copy of the dataset under the data root, in its official or in a general layout."""
    for folder in folders(card, root):
        try:
            found = _copy_in(card, folder)
        except OSError as error:
            raise BrokenFileError(
                f"{error.filename or folder}: cannot be read ({error.strerror}); "
                "change its permissions, or name another folder with --data-root"
            ) from error
        if found is not None:
            return found
    return None


def missing_copy(card: DatasetCard, root: str | os.PathLike[str] | None) -> MissingDataError:
    """The error for a dataset that is nowhere: where it was looked for and what belongs there."""
    looked = " and ".join(str(folder) for folder in folders(card, root)) or "no data root"
    return MissingDataError(
        f"{card.title}: no images found in {looked}; expected {card.expects}, "
        "or train/<class>/* and test/<class>/*, or train-*.parquet and test-*.parquet; "
        f"see `lico-bench data fetch {card.name}`, or use stand-ins with --data standin"
    )


def _standin(card: DatasetCard) -> Source:
    if card.standin is None:
        raise MissingDataError(
            f"{card.title}: its card declares no stand-in; add a [standin] table or use --data real"
        )
    return "standin"


def _copy_in(card: DatasetCard, folder: Path) -> Found | None:
    if not folder.is_dir():
        return None
    # Raises where the folder may not be read; glob would make it look empty.
    next(folder.iterdir(), None)
    if any(next(folder.glob(pattern), None) is not None for pattern in card.markers):
        return Found(card.layout, folder)
    # train/<class>/ directly in the data root could be anybody's, unless the root bears the name.
    if re.fullmatch(rf"{re.escape(card.name)}([_-].*)?", folder.resolve().name) is None:
        return None
    if next(_parquet_files(folder), None) is not None:
        return Found(HUB_PARQUET, folder)
    if _has_class_folders(folder):
        return Found(CLASS_FOLDERS, folder)
    return None


def _parquet_files(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / "data"):
        for split in ("train", "test", "validation"):
            yield from place.glob(f"{split}-*.parquet")


def _has_class_folders(folder: Path) -> bool:
    for split in ("train", "test", "val"):
        place = folder / split
        if place.is_dir() and any(entry.is_dir() for entry in place.iterdir()):
            return True
    return False
