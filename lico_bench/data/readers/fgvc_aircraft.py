"""FGVC-Aircraft with variant labels: text lists and 1-based boxes; trainval serves as train."""

from __future__ import annotations

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
    read_lines,
    read_pairs,
    safe_join,
)
from lico_bench.data.regions import Boxes, read_corners
from lico_bench.errors import BrokenFileError

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
    images = ImageList(LISTS[split], faults)
    for location, name, variant in read_pairs(base / LISTS[split]):
        if variant not in class_numbers:
            raise BrokenFileError(
                f"{location}: unknown variant '{variant}' of {card.title}; "
                "take the list from the official archive"
            )
        file = safe_join(base / "images", f"{name}.jpg", location)
        images.add(file, class_numbers[variant], name, boxes.get(name, Boxes(())))
    digest = digest_of([(base / LISTS[split]).read_bytes()])
    return images.index(has_regions=bool(boxes), digest=digest)


def _base(folder: Path) -> Path:
    official = folder / "fgvc-aircraft-2013b" / "data"
    return official if official.is_dir() else folder / "data"


def _read_boxes(path: Path) -> dict[str, Boxes]:
    boxes = {}
    for location, name, text in read_pairs(path):
        left, top, right, bottom = read_corners(text.split(), location)
        # Coordinates are 1-based and inclusive.
        boxes[name] = Boxes(((left - 1, top - 1, right, bottom),))
    return boxes


READERS.add("fgvc_aircraft", Reader(splits, read))
