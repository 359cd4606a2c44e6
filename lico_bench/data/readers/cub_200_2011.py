"""CUB-200-2011: text files keyed by image number, boxes, and masks if their archive is present."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lico_bench.data.cards import DatasetCard
from lico_bench.data.index_files import (
    check_class_names,
    parse_label,
    read_lines,
    read_pairs,
    require_file,
    require_folder,
    safe_join,
)
from lico_bench.data.readers import READERS
from lico_bench.data.regions import Boxes, MaskFile, Region, read_corners
from lico_bench.data.split_index import Faults, Reader, SplitIndex, digest_of
from lico_bench.errors import BrokenFileError, MissingDataError

INDEX_FILES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return both splits: one list holds them."""
    return ("train", "test")


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read the images of `split` in the order of images.txt."""
    base = folder / "CUB_200_2011"
    names = [name for _, _, name in read_pairs(base / "classes.txt")]
    check_class_names(base / "classes.txt", names, card, lambda name: re.sub(r"^\d+\.", "", name))
    images = require_folder(base / "images")
    is_train = _read_column(base / "train_test_split.txt")
    classes = _read_column(base / "image_class_labels.txt")
    boxes = _read_boxes(base / "bounding_boxes.txt")
    masks = _find_mask_folder(base)
    split_code = "1" if split == "train" else "0"
    files, labels, ids, regions = [], [], [], []
    for location, number, name in read_pairs(base / "images.txt"):
        if number not in is_train or number not in classes:
            raise BrokenFileError(
                f"{location}: image {number} is missing from train_test_split.txt or "
                "image_class_labels.txt; unpack the official archive again"
            )
        label = parse_label(classes[number], card, location, first=1)
        file = safe_join(images, name, location)
        if is_train[number] != split_code:
            continue
        if not file.is_file():
            faults.report(MissingDataError(
                f"{file}: listed in images.txt but missing; restore it or pass --skip-broken"
            ))  # fmt: skip
            continue
        region: Region = boxes.get(number, Boxes(()))
        if masks is not None:
            region = MaskFile(safe_join(masks, name, location).with_suffix(".png"), "grey")
        files.append(file)
        labels.append(label)
        ids.append(f"cub/{Path(name).with_suffix('')}")
        regions.append(region)
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(ids),
        files=tuple(files),
        regions=tuple(regions) if boxes or masks is not None else None,
        digest=digest_of(require_file(base / name).read_bytes() for name in INDEX_FILES),
        notes=(f"{card.title}: regions are {'boxes' if masks is None else 'masks'}",),
    )


def _read_column(path: Path) -> dict[str, str]:
    return {key: value for _, key, value in read_pairs(path)}


def _read_boxes(path: Path) -> dict[str, Boxes]:
    """Read the boxes by image number; the file stores left, top, width, height."""
    boxes = {}
    for number, line in read_lines(path):
        words = line.split()
        try:
            key, (left, top, width, height) = words[0], read_corners(*words[1:])
        except (ValueError, TypeError) as error:
            raise BrokenFileError(
                f"{path}, line {number}: expected '<image> <x> <y> <width> <height>', got "
                f"'{line}'; unpack the official archive again"
            ) from error
        boxes[key] = Boxes(((left, top, left + width, top + height),))
    return boxes


def _find_mask_folder(base: Path) -> Path | None:
    # The mask archive unpacks beside the image folder; users may have moved it inside.
    for folder in (base / "segmentations", base.parent / "segmentations"):
        if folder.is_dir():
            return folder
    return None


READERS.add("cub_200_2011", Reader(splits, read))
