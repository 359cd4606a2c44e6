"""Flowers-102: numbered images, two MATLAB lists, and masks if their archive is present.

The official trnid and valid splits together serve as train.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lico_bench.data.cards import DatasetCard
from lico_bench.data.index_files import check_class_names, parse_label, read_json_object, read_mat
from lico_bench.data.readers import READERS
from lico_bench.data.regions import MaskFile
from lico_bench.data.split_index import Faults, Reader, SplitIndex, digest_of
from lico_bench.errors import BrokenFileError, MissingDataError

SPLIT_VARIABLES = {"train": ("trnid", "valid"), "test": ("tstid",)}


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return both splits: one file lists them."""
    return ("train", "test")


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read the images of `split` in the order of their numbers."""
    base = folder / "flowers-102" if (folder / "flowers-102").is_dir() else folder
    _check_name_list(folder, card)
    all_labels = read_mat(base / "imagelabels.mat", "labels")
    masks = base / "segmim"
    files, labels, ids = [], [], []
    for number in _read_image_numbers(base / "setid.mat", split):
        if not 1 <= number <= len(all_labels):
            raise BrokenFileError(
                f"{base / 'setid.mat'}: image {number} has no label, imagelabels.mat holds "
                f"{len(all_labels)}; take both files from the official page"
            )
        location = f"{base / 'imagelabels.mat'}, image {number}"
        label = parse_label(all_labels[number - 1], card, location, first=1)
        file = base / "jpg" / f"image_{number:05d}.jpg"
        if not file.is_file():
            faults.report(MissingDataError(
                f"{file}: listed in setid.mat but missing; restore it or pass --skip-broken"
            ))  # fmt: skip
            continue
        files.append(file)
        labels.append(label)
        ids.append(file.stem)
    regions = tuple(
        MaskFile(masks / f"{f.stem.replace('image', 'segmim')}.jpg", "blue") for f in files
    )
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(ids),
        files=tuple(files),
        regions=regions if masks.is_dir() else None,
        digest=digest_of((base / f"{n}.mat").read_bytes() for n in ("imagelabels", "setid")),
    )


def _read_image_numbers(path: Path, split: str) -> NDArray[np.int64]:
    parts = [read_mat(path, name) for name in SPLIT_VARIABLES[split]]
    if any(not np.issubdtype(part.dtype, np.number) for part in parts):
        raise BrokenFileError(f"{path}: expected image numbers; take it from the official page")
    return np.sort(np.concatenate(parts).astype(np.int64))


def _check_name_list(folder: Path, card: DatasetCard) -> None:
    # The official archive has no class names; if a copy has a list, it must match the card.
    path = folder / "cat_to_name.json"
    if path.is_file():
        names = read_json_object(path)
        listed = [str(names.get(str(k))) for k in range(1, len(card.class_names) + 1)]
        check_class_names(path, listed, card)


READERS.add("flowers_102", Reader(splits, read))
