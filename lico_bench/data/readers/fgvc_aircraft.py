"""FGVC-Aircraft with variant labels: text lists, boxes counted from 1; trainval serves as train."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lico_bench.data.cards import DatasetCard
from lico_bench.data.index_files import check_names, inside, read_lines, read_pairs
from lico_bench.data.readers import READERS
from lico_bench.data.regions import Boxes, read_corners
from lico_bench.data.split_index import Faults, Reader, SplitIndex, digest_of
from lico_bench.errors import BrokenFileError, MissingDataError

LISTS = {"train": "images_variant_trainval.txt", "test": "images_variant_test.txt"}


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Train always, so that its absence is an error; test if its list is there."""
    return ("train", "test") if (_base(folder) / LISTS["test"]).exists() else ("train",)


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """The images of `split` in the order of its list."""
    base = _base(folder)
    variants = base / "variants.txt"
    check_names(variants, [line for _, line in read_lines(variants)], card)
    number = {name: k for k, name in enumerate(card.class_names)}
    box_file = base / "images_box.txt"
    boxes = _boxes(box_file) if box_file.is_file() else {}
    files, labels, ids, regions = [], [], [], []
    for place, name, variant in read_pairs(base / LISTS[split]):
        if variant not in number:
            raise BrokenFileError(
                f"{place}: '{variant}' is no variant of {card.title}; "
                "take the list from the official archive"
            )
        file = inside(base / "images", f"{name}.jpg", place)
        if not file.is_file():
            faults.report(MissingDataError(
                f"{file}: listed in {LISTS[split]} but missing; "
                "restore it or pass --skip-broken"
            ))  # fmt: skip
            continue
        files.append(file)
        labels.append(number[variant])
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


def _boxes(path: Path) -> dict[str, Boxes]:
    found = {}
    for place, name, text in read_pairs(path):
        try:
            left, top, right, bottom = read_corners(*text.split())
        except (ValueError, TypeError) as error:
            raise BrokenFileError(
                f"{place}: expected '<image> <xmin> <ymin> <xmax> <ymax>', got '{name} {text}'; "
                "take the list from the official archive"
            ) from error
        # Pixels are counted from 1 and the last one is inside.
        found[name] = Boxes(((left - 1, top - 1, right, bottom),))
    return found


READERS.add("fgvc_aircraft", Reader(splits, read))
