"""Flowers-102: numbered images, two MATLAB lists, and masks if their archive is present.

The official trnid and valid splits together serve as train.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lico_bench.data.binary_files import read_mat
from lico_bench.data.cards import DatasetCard
from lico_bench.data.readers import (
    READERS,
    Faults,
    ImageList,
    Reader,
    SplitIndex,
    check_class_names,
    digest_of,
    parse_label,
)
from lico_bench.data.regions import MaskFile
from lico_bench.errors import BrokenFileError

SPLIT_VARIABLES = {"train": ("trnid", "valid"), "test": ("tstid",)}


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return both splits: one file lists them."""
    return ("train", "test")


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read the images of `split` in the order of their numbers."""
    base = folder / "flowers-102" if (folder / "flowers-102").is_dir() else folder
    _check_name_list(folder / "cat_to_name.json", card)
    label_file, split_file = base / "imagelabels.mat", base / "setid.mat"
    all_labels = read_mat(label_file, "labels")
    parts = [read_mat(split_file, name) for name in SPLIT_VARIABLES[split]]
    if any(not np.issubdtype(part.dtype, np.number) for part in parts):
        raise BrokenFileError(
            f"{split_file}: expected image numbers; take it from the official page"
        )
    images = ImageList(split_file.name, faults)
    for number in np.sort(np.concatenate(parts).astype(np.int64)):
        if not 1 <= number <= len(all_labels):
            raise BrokenFileError(
                f"{split_file}: image {number} has no label, imagelabels.mat holds "
                f"{len(all_labels)}; take both files from the official page"
            )
        label = parse_label(all_labels[number - 1], card, f"{label_file}, image {number}", first=1)
        name = f"image_{number:05d}"
        mask = MaskFile(base / "segmim" / f"segmim_{number:05d}.jpg", "blue")
        images.add(base / "jpg" / f"{name}.jpg", label, name, mask)
    digest = digest_of(path.read_bytes() for path in (label_file, split_file))
    return images.index(has_regions=(base / "segmim").is_dir(), digest=digest)


def _check_name_list(path: Path, card: DatasetCard) -> None:
    # The official archive has no class names; if a copy has a list, it must match the card.
    if not path.is_file():
        return
    try:
        names = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise BrokenFileError(
            f"{path}: expected a JSON object ({error}); unpack it again"
        ) from error
    listed = [str(names.get(str(k))) for k in range(1, len(card.class_names) + 1)]
    check_class_names(path, listed, card)


READERS.add("flowers_102", Reader(splits, read))
