"""The layout of a user's own images: `train/<class>/*`, `val/<class>/*`, `test/<class>/*`.

Where there is no test folder, val serves as test, as in ImageNet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lico_bench.data.cards import DatasetCard
from lico_bench.data.index_files import comparable, folder_index
from lico_bench.data.readers import READERS
from lico_bench.data.split_index import Faults, Reader, SplitIndex
from lico_bench.data.user_images import SUFFIXES
from lico_bench.errors import BrokenFileError


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Those whose folder is there."""
    return tuple(split for split in ("train", "val", "test") if _place(folder, split).is_dir())


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Every image of `split`, folders and names in alphabetical order."""
    place = _place(folder, split)
    index = folder_index(card)
    files, labels = [], []
    for entry in sorted(place.iterdir()):
        if not entry.is_dir():
            continue
        if comparable(entry.name) not in index:
            raise BrokenFileError(
                f"{entry}: no class of {card.title} is called '{entry.name}'; "
                f"name the folders as in the card ({', '.join(card.class_names[:3])}, ...)"
            )
        found = sorted(f for f in entry.rglob("*") if f.suffix.lower() in SUFFIXES)
        files += found
        labels += [index[comparable(entry.name)]] * len(found)
    notes: tuple[str, ...] = ()
    if split == "test" and place.name == "val":
        notes = (f"{card.title}: no test folder; the val folder serves as test",)
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(f.relative_to(folder).as_posix() for f in files),
        files=tuple(files),
        notes=notes,
    )


def _place(folder: Path, split: str) -> Path:
    has_test = (folder / "test").is_dir()
    if split == "test" and not has_test:
        return folder / "val"
    if split == "val" and not has_test:
        return folder / "no-val-beside-test"  # val is the test here
    return folder / split


READERS.add("class_folders", Reader(splits, read))
