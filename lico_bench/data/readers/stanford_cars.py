"""Stanford Cars with its MATLAB development kit: 1-based class numbers, one box per image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lico_bench.data.cards import DatasetCard
from lico_bench.data.image_files import open_image
from lico_bench.data.index_files import (
    check_class_names,
    parse_label,
    read_mat,
    require_folder,
    safe_join,
)
from lico_bench.data.readers import READERS
from lico_bench.data.regions import Boxes, read_corners
from lico_bench.data.split_index import Faults, Reader, SplitIndex, digest_of
from lico_bench.errors import BrokenFileError, MissingDataError

FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
NUM_CHECKED = 64  # images used to detect a copy that was cropped to its boxes
FULL_SIDE = 0.98  # share of width and height from which a box counts as the full image


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return train in any case, so that its absence is an error, and test if it has labels."""
    base = _base(folder)
    has_test = _find_test_list(base) is not None and (base / "cars_test").is_dir()
    return ("train", "test") if has_test else ("train",)


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read the images of `split` in the order of its annotation list."""
    base = _base(folder)
    meta = base / "devkit" / "cars_meta.mat"
    check_class_names(meta, [str(name) for name in read_mat(meta, "class_names")], card)
    path = base / "devkit" / "cars_train_annos.mat"
    if split == "test":
        path = _find_test_list(base) or path
    images = require_folder(base / f"cars_{split}")
    files, labels, ids, regions = [], [], [], []
    for number, entry in enumerate(_read_annotations(path)):
        location = f"{path}, entry {number}"
        name = str(entry["fname"])
        label = parse_label(entry["class"], card, location, first=1)
        file = safe_join(images, name, location)
        if not file.is_file():
            faults.report(MissingDataError(
                f"{file}: listed in {path.name} but missing; restore it or pass --skip-broken"
            ))  # fmt: skip
            continue
        files.append(file)
        labels.append(label)
        ids.append(f"{split}/{Path(name).stem}")
        regions.append(_read_box(entry, location))
    notes: tuple[str, ...] = ()
    if files and _cover_images(files, regions):
        notes = (
            f"{card.title}: the boxes cover whole images (a copy cut to its boxes), "
            "so they are not used as regions",
        )
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(ids),
        files=tuple(files),
        regions=None if notes else tuple(regions),
        digest=digest_of([path.read_bytes()]),
        notes=notes,
    )


def _base(folder: Path) -> Path:
    return folder / "stanford_cars" if (folder / "stanford_cars").is_dir() else folder


def _find_test_list(base: Path) -> Path | None:
    for parent in (base, base / "devkit"):
        if (parent / "cars_test_annos_withlabels.mat").is_file():
            return parent / "cars_test_annos_withlabels.mat"
    return None


def _read_annotations(path: Path) -> np.ndarray:
    entries = read_mat(path, "annotations")
    missing = [field for field in FIELDS if field not in (entries.dtype.names or ())]
    if missing:
        raise BrokenFileError(
            f"{path}: annotation fields missing: {', '.join(missing)}; "
            "take the file from the official kit"
        )
    return entries


def _read_box(entry: np.void, location: str) -> Boxes:
    try:
        left, top, right, bottom = read_corners(*(entry[field] for field in FIELDS[:4]))
    except (TypeError, ValueError) as error:
        raise BrokenFileError(
            f"{location}: expected four numbers for the box; take the file from the official kit"
        ) from error
    # MATLAB coordinates are 1-based and inclusive.
    return Boxes(((left - 1, top - 1, right, bottom),))


def _cover_images(files: list[Path], regions: list[Boxes]) -> bool:
    """Whether the boxes of the first `NUM_CHECKED` images all cover the full image."""
    for file, region in list(zip(files, regions, strict=True))[:NUM_CHECKED]:
        left, top, right, bottom = region.corners[0]
        try:
            with open_image(file, str(file), "") as image:
                width, height = image.size
        except (OSError, BrokenFileError):
            continue  # decoding reports broken images by name
        if right - left < FULL_SIDE * width or bottom - top < FULL_SIDE * height:
            return False
    return True


READERS.add("stanford_cars", Reader(splits, read))
