"""ImageNet-1k: class folders named by WordNet id, validation labels and boxes from index files.

The validation images may be in class folders or, as published, in one flat folder next to one of
the three supported label files. The validation split serves as test. Boxes are read only for
this split, because the training images are not fully annotated.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lico_bench.data.cards import DatasetCard
from lico_bench.data.index_files import read_lines, read_mat, read_pairs, require_folder
from lico_bench.data.readers import READERS
from lico_bench.data.regions import Boxes, Corners, Region, XmlBoxes, read_corners
from lico_bench.data.split_index import Faults, Reader, SplitIndex, digest_of
from lico_bench.errors import BrokenFileError, MissingDataError

FOLDERS = {"train": "train", "test": "val"}
PARENTS = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
SUFFIXES = (".jpeg", ".jpg", ".png")


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return the splits whose folder exists."""
    return tuple(split for split in FOLDERS if _find_split_folder(folder, split) is not None)


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read all images of `split`, classes in index order, files in alphabetical order."""
    images = _find_split_folder(folder, split)
    if images is None:
        raise MissingDataError(
            f"{folder}: folder {FOLDERS[split]}/ missing; expected {card.expects}"
        )
    files, labels = _read_class_folders(images, card)
    if not files and split == "test":
        files, labels = _read_flat_folder(folder, images, card)
    regions = _find_regions(folder, files, labels, card) if split == "test" else None
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(
            f"{split}/{card.class_ids[k]}/{f.stem}" for f, k in zip(files, labels, strict=True)
        ),
        files=tuple(files),
        regions=regions,
        digest=digest_of(path.read_bytes() for path in _find_index_files(folder)),
    )


def _find_split_folder(folder: Path, split: str) -> Path | None:
    for parent in PARENTS:
        if (folder / parent / FOLDERS[split]).is_dir():
            return folder / parent / FOLDERS[split]
    return None


def _read_class_folders(images: Path, card: DatasetCard) -> tuple[list[Path], list[int]]:
    class_numbers = {name: k for k, name in enumerate(card.class_ids)}
    files, labels = [], []
    for entry in sorted(require_folder(images).iterdir()):
        if not entry.is_dir():
            continue
        if entry.name not in class_numbers:
            raise BrokenFileError(
                f"{entry}: unknown class of {card.title}; expected folders named by WordNet id as "
                "in the card, remove other folders"
            )
        images_of_class = sorted(f for f in entry.iterdir() if f.suffix.lower() in SUFFIXES)
        files += images_of_class
        labels += [class_numbers[entry.name]] * len(images_of_class)
    return files, labels


def _read_flat_folder(
    folder: Path, images: Path, card: DatasetCard
) -> tuple[list[Path], list[int]]:
    class_numbers = {name: k for k, name in enumerate(card.class_ids)}
    wnids = _read_validation_classes(folder)
    files = sorted(f for f in images.iterdir() if f.suffix.lower() in SUFFIXES)
    labels = []
    for file in files:
        wnid = wnids.get(file.stem)
        if wnid not in class_numbers:
            raise BrokenFileError(
                f"{file}: its index file gives class {wnid!r}, unknown in {card.title}; "
                "take the index file from the official archive"
            )
        labels.append(class_numbers[wnid])
    return files, labels


def _read_validation_classes(folder: Path) -> dict[str, str]:
    """Read the WordNet id by image name from the first index file that exists."""
    solution = _find_solution(folder)
    if solution is not None:
        return {name: text.split()[0] for name, text in _read_solution(solution)}
    text_list = folder / "val_ground_truth.txt"
    if text_list.is_file():
        return {Path(name).stem: wnid for _, name, wnid in read_pairs(text_list)}
    devkit = folder / "ILSVRC2012_devkit_t12" / "data"
    ground_truth = devkit / "ILSVRC2012_validation_ground_truth.txt"
    if not ground_truth.is_file():
        raise MissingDataError(
            f"{folder}: the validation images are in one folder and their label file is missing; "
            "add LOC_val_solution.csv, val_ground_truth.txt or ILSVRC2012_devkit_t12/"
        )
    synsets = read_mat(devkit / "meta.mat", "synsets")
    wnids = {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in synsets}
    return {
        f"ILSVRC2012_val_{number:08d}": wnids.get(int(value), value)
        for number, (_, value) in enumerate(read_lines(ground_truth), start=1)
    }


def _find_regions(
    folder: Path, files: list[Path], labels: list[int], card: DatasetCard
) -> tuple[Region, ...] | None:
    annotations = _find_annotations(folder)
    if annotations is not None:
        return tuple(
            XmlBoxes(annotations / f"{f.stem}.xml", card.class_ids[k])
            for f, k in zip(files, labels, strict=True)
        )
    solution = _find_solution(folder)
    if solution is None:
        return None
    texts = dict(_read_solution(solution))
    return tuple(
        Boxes(_parse_boxes(solution, f.stem, texts.get(f.stem, ""), card.class_ids[k]))
        for f, k in zip(files, labels, strict=True)
    )


def _parse_boxes(path: Path, name: str, text: str, wnid: str) -> tuple[Corners, ...]:
    """Parse the boxes of class `wnid` from `n01440764 1 2 30 40 n01440764 ...`."""
    words = text.split()
    try:
        if len(words) % 5:
            raise ValueError("expected a class and four numbers per box")
        entries = [(words[i], read_corners(*words[i + 1 : i + 5])) for i in range(0, len(words), 5)]
    except (ValueError, TypeError) as error:
        raise BrokenFileError(
            f"{path}, image {name}: not a list of boxes ({error}); unpack it again"
        ) from error
    return tuple(corners for box_wnid, corners in entries if box_wnid == wnid)


def _read_solution(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if not row.get("ImageId") or not row.get("PredictionString"):
                raise BrokenFileError(
                    f"{path}: expected columns ImageId and PredictionString, got {list(row)}; "
                    "unpack it again"
                )
            yield row["ImageId"], row["PredictionString"]


def _find_solution(folder: Path) -> Path | None:
    path = folder / "LOC_val_solution.csv"
    return path if path.is_file() else None


def _find_annotations(folder: Path) -> Path | None:
    for path in ("Annotations/CLS-LOC/val", "ILSVRC/Annotations/CLS-LOC/val"):
        if (folder / path).is_dir():
            return folder / path
    return None


def _find_index_files(folder: Path) -> list[Path]:
    names = ("LOC_val_solution.csv", "val_ground_truth.txt")
    return [folder / name for name in names if (folder / name).is_file()]


READERS.add("imagenet_folders", Reader(splits, read))
