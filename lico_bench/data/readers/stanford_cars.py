"""Stanford Cars with its MATLAB development kit: class numbers from 1, one box per image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lico_bench.data.cards import DatasetCard
from lico_bench.data.image_files import open_image
from lico_bench.data.index_files import (
    check_names,
    inside,
    label_of,
    need_folder,
    read_mat,
)
from lico_bench.data.readers import READERS
from lico_bench.data.regions import Boxes, read_corners
from lico_bench.data.split_index import Faults, Reader, SplitIndex, digest_of
from lico_bench.errors import BrokenFileError, MissingDataError

FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
LOOKED_AT = 64  # images that tell whether a copy was cut to its boxes
WHOLE = 0.98  # of both sides


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Train always, so that its absence is an error; test if its labelled list is there."""
    base = _base(folder)
    has_test = _test_list(base) is not None and (base / "cars_test").is_dir()
    return ("train", "test") if has_test else ("train",)


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """The images of `split` in the order of its annotation list."""
    base = _base(folder)
    meta = base / "devkit" / "cars_meta.mat"
    check_names(meta, [str(name) for name in read_mat(meta, "class_names")], card)
    path = base / "devkit" / "cars_train_annos.mat"
    if split == "test":
        path = _test_list(base) or path
    images = need_folder(base / f"cars_{split}")
    files, labels, ids, regions = [], [], [], []
    for number, entry in enumerate(_entries(path)):
        place = f"{path}, entry {number}"
        name = str(entry["fname"])
        label = label_of(entry["class"], card, place, first=1)
        file = inside(images, name, place)
        if not file.is_file():
            faults.report(MissingDataError(
                f"{file}: listed in {path.name} but missing; restore it or pass --skip-broken"
            ))  # fmt: skip
            continue
        files.append(file)
        labels.append(label)
        ids.append(f"{split}/{Path(name).stem}")
        regions.append(_box(entry, place))
    notes: tuple[str, ...] = ()
    if files and _are_whole(files, regions):
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


def _test_list(base: Path) -> Path | None:
    for place in (base, base / "devkit"):
        if (place / "cars_test_annos_withlabels.mat").is_file():
            return place / "cars_test_annos_withlabels.mat"
    return None


def _entries(path: Path) -> np.ndarray:
    entries = read_mat(path, "annotations")
    missing = [field for field in FIELDS if field not in (entries.dtype.names or ())]
    if missing:
        raise BrokenFileError(
            f"{path}: annotations lack {', '.join(missing)}; take the file from the official kit"
        )
    return entries


def _box(entry: np.void, place: str) -> Boxes:
    try:
        left, top, right, bottom = read_corners(*(entry[field] for field in FIELDS[:4]))
    except (TypeError, ValueError) as error:
        raise BrokenFileError(
            f"{place}: the box is not four numbers; take the file from the official kit"
        ) from error
    # MATLAB counts pixels from 1 and means the last one to be inside.
    return Boxes(((left - 1, top - 1, right, bottom),))


def _are_whole(files: list[Path], regions: list[Boxes]) -> bool:
    """Whether boxes are as large as their images in all of the first few."""
    for file, region in list(zip(files, regions, strict=True))[:LOOKED_AT]:
        left, top, right, bottom = region.corners[0]
        try:
            with open_image(file, str(file), "") as image:
                width, height = image.size
        except (OSError, BrokenFileError):
            continue  # a broken image is reported, by name, when it is decoded
        if right - left < WHOLE * width or bottom - top < WHOLE * height:
            return False
    return True


READERS.add("stanford_cars", Reader(splits, read))
