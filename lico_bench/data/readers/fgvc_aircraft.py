"""FGVC-Aircraft with variant labels: text lists and 1-based boxes; trainval serves as train."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lico_bench.data.cards import DatasetCard
from lico_bench.data.index_files import check_class_names, read_lines, read_pairs, safe_join
from lico_bench.data.readers import READERS
from lico_bench.data.regions import Boxes, read_corners
from lico_bench.data.split_index import Faults, Reader, SplitIndex, digest_of
from lico_bench.errors import BrokenFileError, MissingDataError

LISTS = {"train": "images_variant_trainval.txt", "test": "images_variant_test.txt"}


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return train in any case, so that its absence is an error, and test if its list exists."""
    return ("train", "test") if (_base(folder) / LISTS["test"]).exists() else ("train",)


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read the images of `split` in the order of its list."""
    base = _base(folder)
    variants = base / "variants.txt"
    check_class_names(variants, [line for _, line in read_lines(variants)], card)
    class_numbers = {name: k for k, name in enumerate(card.class_names)}
    box_file = base / "images_box.txt"
    boxes = _read_boxes(box_file) if box_file.is_file() else {}
    files, labels, ids, regions = [], [], [], []
    for location, name, variant in read_pairs(base / LISTS[split]):
        if variant not in class_numbers:
            raise BrokenFileError(
                f"{location}: unknown variant '{variant}' of {card.title}; "
                "take the list from the official archive"
            )
        file = safe_join(base / "images", f"{name}.jpg", location)
        if not file.is_file():
            faults.report(MissingDataError(
                f"{file}: listed in {LISTS[split]} but missing; "
                "restore it or pass --skip-broken"
            ))  # fmt: skip
            continue
        files.append(file)
        labels.append(class_numbers[variant])
        ids.append(name)
        regions.append(boxes.get(name, Boxes(())))
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(ids),
        files=tuple(files),
        regions=tuple(regions) if boxes else None,
        digest=digest_of([(base / LISTS[split]).read_bytes()]),
    )


def _base(folder: Path) -> Path:
    official = folder / "fgvc-aircraft-2013b" / "data"
    return official if official.is_dir() else folder / "data"


def _read_boxes(path: Path) -> dict[str, Boxes]:
    boxes = {}
    for location, name, text in read_pairs(path):
        try:
            left, top, right, bottom = read_corners(*text.split())
        except (ValueError, TypeError) as error:
            raise BrokenFileError(
                f"{location}: expected '<image> <xmin> <ymin> <xmax> <ymax>', got '{name} {text}'; "
                "take the list from the official archive"
            ) from error
        # Coordinates are 1-based and inclusive.
        boxes[name] = Boxes(((left - 1, top - 1, right, bottom),))
    return boxes


READERS.add("fgvc_aircraft", Reader(splits, read))
