"""Class folders: `train/<class>/*`, `val/<class>/*`, `test/<class>/*`.

Without a test folder, val serves as test, as in ImageNet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lico_bench.data.cards import DatasetCard
from lico_bench.data.find_files import images_by_class
from lico_bench.data.readers import READERS, Faults, Reader, SplitIndex, normalise_name
from lico_bench.errors import BrokenFileError


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return the splits whose folder exists."""
    names = ("train", "val", "test")
    return tuple(split for split in names if _split_folder(folder, split).is_dir())


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read all images of `split`, folders and files in alphabetical order."""
    split_folder = _split_folder(folder, split)
    class_numbers: dict[str, int] = {}  # a folder bears the id, name or prompt name of its class
    for names in (card.class_ids, card.class_names, card.prompt_names):
        for number, name in enumerate(names):
            class_numbers.setdefault(normalise_name(name), number)
    files, labels = [], []
    for name, images in images_by_class(split_folder).items():
        if normalise_name(name) not in class_numbers:
            raise BrokenFileError(
                f"{split_folder / name}: unknown class '{name}' of {card.title}; "
                f"name the folders as in the card ({', '.join(card.class_names[:3])}, ...)"
            )
        files += images
        labels += [class_numbers[normalise_name(name)]] * len(images)
    notes: tuple[str, ...] = ()
    if split == "test" and split_folder.name == "val":
        notes = (f"{card.title}: no test folder; the val folder serves as test",)
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(f.relative_to(folder).as_posix() for f in files),
        files=tuple(files),
        notes=notes,
    )


def _split_folder(folder: Path, split: str) -> Path:
    """Return the folder of `split`, which need not exist."""
    has_test = (folder / "test").is_dir()
    if split == "test" and not has_test:
        return folder / "val"
    if split == "val" and not has_test:
        return folder / "no-val-beside-test"  # val already serves as test
    return folder / split


READERS.add("class_folders", Reader(splits, read))
