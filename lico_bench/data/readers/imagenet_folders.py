"""ImageNet-1k: class folders named by WordNet id, validation labels and boxes from its index files.

The validation images may lie in class folders or, as published, in one folder beside any of the
three files that tell their labels. Boxes are read for the validation split alone, which serves as
test: of the training images only part is annotated.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lico_bench.data.cards import DatasetCard
from lico_bench.data.index_files import need_folder, read_lines, read_mat, read_pairs
from lico_bench.data.readers import READERS
from lico_bench.data.regions import Boxes, Corners, Region, XmlBoxes, read_corners
from lico_bench.data.split_index import Faults, Reader, SplitIndex, digest_of
from lico_bench.errors import BrokenFileError, MissingDataError

FOLDERS = {"train": "train", "test": "val"}
PLACES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
SUFFIXES = (".jpeg", ".jpg", ".png")


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Those whose folder is there."""
    return tuple(split for split in FOLDERS if _images(folder, split) is not None)


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Every image of `split`, classes in index order, names in alphabetical order."""
    images = _images(folder, split)
    if images is None:
        raise MissingDataError(f"{folder}: no folder {FOLDERS[split]}/; expected {card.expects}")
    files, labels = _from_class_folders(images, card)
    if not files and split == "test":
        files, labels = _from_flat_folder(folder, images, card)
    regions = _regions(folder, files, labels, card) if split == "test" else None
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(
            f"{split}/{card.class_ids[k]}/{f.stem}" for f, k in zip(files, labels, strict=True)
        ),
        files=tuple(files),
        regions=regions,
        digest=digest_of(path.read_bytes() for path in _index_files(folder)),
    )


def _images(folder: Path, split: str) -> Path | None:
    for place in PLACES:
        if (folder / place / FOLDERS[split]).is_dir():
            return folder / place / FOLDERS[split]
    return None


def _from_class_folders(images: Path, card: DatasetCard) -> tuple[list[Path], list[int]]:
    number = {name: k for k, name in enumerate(card.class_ids)}
    files, labels = [], []
    for entry in sorted(need_folder(images).iterdir()):
        if not entry.is_dir():
            continue
        if entry.name not in number:
            raise BrokenFileError(
                f"{entry}: no class of {card.title}; expected folders named by WordNet id as in "
                "the card, remove what does not belong here"
            )
        found = sorted(f for f in entry.iterdir() if f.suffix.lower() in SUFFIXES)
        files += found
        labels += [number[entry.name]] * len(found)
    return files, labels


def _from_flat_folder(
    folder: Path, images: Path, card: DatasetCard
) -> tuple[list[Path], list[int]]:
    number = {name: k for k, name in enumerate(card.class_ids)}
    truth = _validation_truth(folder)
    files = sorted(f for f in images.iterdir() if f.suffix.lower() in SUFFIXES)
    labels = []
    for file in files:
        wnid = truth.get(file.stem)
        if wnid not in number:
            raise BrokenFileError(
                f"{file}: its index file says class {wnid!r}, which is none of {card.title}; "
                "take the index file from the official archive"
            )
        labels.append(number[wnid])
    return files, labels


def _validation_truth(folder: Path) -> dict[str, str]:
    """WordNet id by image name, from whichever index file is there."""
    solution = _solution(folder)
    if solution is not None:
        return {name: text.split()[0] for name, text in _solution_rows(solution)}
    listed = folder / "val_ground_truth.txt"
    if listed.is_file():
        return {Path(name).stem: wnid for _, name, wnid in read_pairs(listed)}
    kit = folder / "ILSVRC2012_devkit_t12" / "data"
    truth = kit / "ILSVRC2012_validation_ground_truth.txt"
    if not truth.is_file():
        raise MissingDataError(
            f"{folder}: the validation images lie in one folder and no file tells their classes; "
            "add LOC_val_solution.csv, val_ground_truth.txt or ILSVRC2012_devkit_t12/"
        )
    synsets = read_mat(kit / "meta.mat", "synsets")
    wnids = {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in synsets}
    return {
        f"ILSVRC2012_val_{number:08d}": wnids.get(int(value), value)
        for number, (_, value) in enumerate(read_lines(truth), start=1)
    }


def _regions(
    folder: Path, files: list[Path], labels: list[int], card: DatasetCard
) -> tuple[Region, ...] | None:
    annotations = _annotations(folder)
    if annotations is not None:
        return tuple(
            XmlBoxes(annotations / f"{f.stem}.xml", card.class_ids[k])
            for f, k in zip(files, labels, strict=True)
        )
    solution = _solution(folder)
    if solution is None:
        return None
    texts = dict(_solution_rows(solution))
    return tuple(
        Boxes(_solution_boxes(solution, f.stem, texts.get(f.stem, ""), card.class_ids[k]))
        for f, k in zip(files, labels, strict=True)
    )


def _solution_boxes(path: Path, name: str, text: str, wnid: str) -> tuple[Corners, ...]:
    """Boxes of class `wnid` in `n01440764 1 2 30 40 n01440764 ...`."""
    words = text.split()
    try:
        if len(words) % 5:
            raise ValueError("expected a class and four numbers for each")
        entries = [(words[i], read_corners(*words[i + 1 : i + 5])) for i in range(0, len(words), 5)]
    except (ValueError, TypeError) as error:
        raise BrokenFileError(
            f"{path}, image {name}: not a list of boxes ({error}); unpack it again"
        ) from error
    return tuple(corners for found, corners in entries if found == wnid)


def _solution_rows(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if not row.get("ImageId") or not row.get("PredictionString"):
                raise BrokenFileError(
                    f"{path}: expected columns ImageId and PredictionString, got {list(row)}; "
                    "unpack it again"
                )
            yield row["ImageId"], row["PredictionString"]


def _solution(folder: Path) -> Path | None:
    path = folder / "LOC_val_solution.csv"
    return path if path.is_file() else None


def _annotations(folder: Path) -> Path | None:
    for place in ("Annotations/CLS-LOC/val", "ILSVRC/Annotations/CLS-LOC/val"):
        if (folder / place).is_dir():
            return folder / place
    return None


def _index_files(folder: Path) -> list[Path]:
    names = ("LOC_val_solution.csv", "val_ground_truth.txt")
    return [folder / name for name in names if (folder / name).is_file()]


READERS.add("imagenet_folders", Reader(splits, read))
