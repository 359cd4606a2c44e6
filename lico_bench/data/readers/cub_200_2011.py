"""CUB-200-2011: text files keyed by image number, boxes, and masks if their archive is present."""

from __future__ import annotations

import re
from pathlib import Path

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
    read_pairs,
    require_file,
    require_folder,
    safe_join,
)
from lico_bench.data.regions import Boxes, MaskFile, Region, read_corners
from lico_bench.errors import BrokenFileError

INDEX_FILES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return both splits: one list holds them."""
    return ("train", "test")


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read the images of `split` in the order of images.txt."""
    base = folder / "CUB_200_2011"
    names = [name for _, _, name in read_pairs(base / "classes.txt")]
    check_class_names(base / "classes.txt", names, card, lambda name: re.sub(r"^\d+\.", "", name))
    folder_of_images = require_folder(base / "images")
    is_train = {key: value for _, key, value in read_pairs(base / "train_test_split.txt")}
    classes = {key: value for _, key, value in read_pairs(base / "image_class_labels.txt")}
    boxes = _read_boxes(base / "bounding_boxes.txt")
    # The mask archive unpacks beside the image folder; users may have moved it inside.
    mask_folders = (base / "segmentations", folder / "segmentations")
    masks = next((path for path in mask_folders if path.is_dir()), None)
    images = ImageList("images.txt", faults)
    for location, number, name in read_pairs(base / "images.txt"):
        if number not in is_train or number not in classes:
            raise BrokenFileError(
                f"{location}: image {number} is missing from train_test_split.txt or "
                "image_class_labels.txt; unpack the official archive again"
            )
        label = parse_label(classes[number], card, location, first=1)
        file = safe_join(folder_of_images, name, location)
        if is_train[number] != ("1" if split == "train" else "0"):
            continue
        region: Region = boxes.get(number, Boxes(()))
        if masks is not None:
            region = MaskFile(safe_join(masks, name, location).with_suffix(".png"), "grey")
        images.add(file, label, f"cub/{Path(name).with_suffix('')}", region)
    return images.index(
        has_regions=bool(boxes) or masks is not None,
        digest=digest_of(require_file(base / name).read_bytes() for name in INDEX_FILES),
        notes=(f"{card.title}: regions are {'boxes' if masks is None else 'masks'}",),
    )


def _read_boxes(path: Path) -> dict[str, Boxes]:
    """Read the boxes by image number; the file stores left, top, width, height."""
    boxes = {}
    for location, key, text in read_pairs(path):
        left, top, width, height = read_corners(text.split(), location)
        boxes[key] = Boxes(((left, top, left + width, top + height),))
    return boxes


READERS.add("cub_200_2011", Reader(splits, read))
