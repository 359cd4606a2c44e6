"""ImageNet-1k: class folders named by WordNet id, validation labels and boxes from index files.

The validation images may be in class folders or, as published, in one flat folder next to one of
the three supported label files. The validation split serves as test. Boxes are read only for
this split, because the training images are not fully annotated.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lico_bench.data.binary_files import read_mat
from lico_bench.data.cards import DatasetCard
from lico_bench.data.find_files import images_below, images_by_class
from lico_bench.data.readers import (
    READERS,
    Faults,
    Reader,
    SplitIndex,
    digest_of,
    read_lines,
    read_pairs,
)
from lico_bench.data.regions import Boxes, Corners, Region, XmlBoxes, read_corners
from lico_bench.errors import BrokenFileError, MissingDataError

FOLDERS = {"train": "train", "test": "val"}
PARENTS = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
ANNOTATIONS = ("Annotations/CLS-LOC/val", "ILSVRC/Annotations/CLS-LOC/val")
SOLUTION, TEXT_LIST = "LOC_val_solution.csv", "val_ground_truth.txt"


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return the splits whose folder exists."""
    return tuple(split for split in FOLDERS if _split_folder(folder, split).is_dir())


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read all images of `split`, classes in index order, files in alphabetical order."""
    images = _split_folder(folder, split)
    class_numbers = {name: k for k, name in enumerate(card.class_ids)}
    solution = _read_solution(folder / SOLUTION) if split == "test" else {}
    files, labels = [], []
    for name, files_of_class in images_by_class(images).items():
        if name not in class_numbers:
            raise BrokenFileError(
                f"{images / name}: unknown class of {card.title}; expected folders named by "
                "WordNet id as in the card, remove other folders"
            )
        files += files_of_class
        labels += [class_numbers[name]] * len(files_of_class)
    if not files and split == "test":
        files = images_below(images)
        wnids = _read_validation_classes(folder, solution)
        for file in files:
            wnid = wnids.get(file.stem)
            if wnid not in class_numbers:
                raise BrokenFileError(
                    f"{file}: its index file gives class {wnid!r}, unknown in {card.title}; "
                    "take the index file from the official archive"
                )
            labels.append(class_numbers[wnid])
    names = [(file.stem, card.class_ids[k]) for file, k in zip(files, labels, strict=True)]
    index_files = [folder / name for name in (SOLUTION, TEXT_LIST)]
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(f"{split}/{wnid}/{stem}" for stem, wnid in names),
        files=tuple(files),
        regions=_find_regions(folder, names, solution) if split == "test" else None,
        digest=digest_of(path.read_bytes() for path in index_files if path.is_file()),
    )


def _split_folder(folder: Path, split: str) -> Path:
    """Return the folder of `split`, which need not exist."""
    candidates = [folder / parent / FOLDERS[split] for parent in PARENTS]
    return next(filter(Path.is_dir, candidates), candidates[0])


def _read_validation_classes(folder: Path, solution: dict[str, str]) -> dict[str, str]:
    """Return the WordNet id by image name from the first index file that exists."""
    if solution:
        return {name: text.split()[0] for name, text in solution.items()}
    if (folder / TEXT_LIST).is_file():
        return {Path(name).stem: wnid for _, name, wnid in read_pairs(folder / TEXT_LIST)}
    devkit = folder / "ILSVRC2012_devkit_t12" / "data"
    ground_truth = devkit / "ILSVRC2012_validation_ground_truth.txt"
    if not ground_truth.is_file():
        raise MissingDataError(
            f"{folder}: the validation images are in one folder and their label file is missing; "
            f"add {SOLUTION}, {TEXT_LIST} or ILSVRC2012_devkit_t12/"
        )
    synsets = read_mat(devkit / "meta.mat", "synsets", ("ILSVRC2012_ID", "WNID"))
    wnids = {str(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in synsets}
    return {
        f"ILSVRC2012_val_{number:08d}": wnids.get(value, value)
        for number, (_, value) in enumerate(read_lines(ground_truth), start=1)
    }


def _find_regions(
    folder: Path, names: Iterable[tuple[str, str]], solution: dict[str, str]
) -> tuple[Region, ...] | None:
    """Return the boxes of each image, given as (name, WordNet id); None without box files."""
    for path in ANNOTATIONS:
        if (folder / path).is_dir():
            return tuple(XmlBoxes(folder / path / f"{stem}.xml", wnid) for stem, wnid in names)
    if not solution:
        return None
    return tuple(
        Boxes(_parse_boxes(f"{folder / SOLUTION}, image {stem}", solution.get(stem, ""), wnid))
        for stem, wnid in names
    )


def _parse_boxes(location: str, text: str, wnid: str) -> tuple[Corners, ...]:
    """Parse the boxes of class `wnid` from `n01440764 1 2 30 40 n01440764 ...`."""
    words = text.split()
    entries = [
        (words[i], read_corners(words[i + 1 : i + 5], location)) for i in range(0, len(words), 5)
    ]
    return tuple(corners for box_wnid, corners in entries if box_wnid == wnid)


def _read_solution(path: Path) -> dict[str, str]:
    """Read class and boxes by image name; empty without the file."""
    if not path.is_file():
        return {}
    texts = {}
    for row in csv.DictReader(line for _, line in read_lines(path)):
        if not row.get("ImageId") or not row.get("PredictionString"):
            raise BrokenFileError(
                f"{path}: expected columns ImageId and PredictionString, got {list(row)}; "
                "unpack it again"
            )
        texts[row["ImageId"]] = row["PredictionString"]
    return texts


READERS.add("imagenet_folders", Reader(splits, read))
