"""Stanford Cars with its MATLAB development kit: 1-based class numbers, one box per image."""

from __future__ import annotations

from pathlib import Path

from lico_bench.data.binary_files import read_mat
from lico_bench.data.cards import DatasetCard
from lico_bench.data.image_files import open_image
from lico_bench.data.readers import (
    READERS,
    Faults,
    ImageList,
    Reader,
    SplitIndex,
    check_class_names,
    digest_of,
    parse_label,
    require_folder,
    safe_join,
)
from lico_bench.data.regions import Boxes, Corners, read_corners
from lico_bench.errors import BrokenFileError

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
    folder_of_images = require_folder(base / f"cars_{split}")
    images = ImageList(path.name, faults)
    corners: dict[Path, Corners] = {}
    for number, entry in enumerate(read_mat(path, "annotations", FIELDS)):
        location = f"{path}, entry {number}"
        name = str(entry["fname"])
        label = parse_label(entry["class"], card, location, first=1)
        file = safe_join(folder_of_images, name, location)
        left, top, right, bottom = read_corners([entry[field] for field in FIELDS[:4]], location)
        # MATLAB coordinates are 1-based and inclusive.
        corners[file] = (left - 1, top - 1, right, bottom)
        images.add(file, label, f"{split}/{Path(name).stem}", Boxes((corners[file],)))
    checked = images.files[:NUM_CHECKED]
    is_cropped = bool(checked) and all(_covers_image(corners[file], file) for file in checked)
    note = (
        f"{card.title}: the boxes cover whole images (a copy cut to its boxes), "
        "so they are not used as regions"
    )
    return images.index(
        has_regions=not is_cropped,
        digest=digest_of([path.read_bytes()]),
        notes=(note,) if is_cropped else (),
    )


def _base(folder: Path) -> Path:
    return folder / "stanford_cars" if (folder / "stanford_cars").is_dir() else folder


def _find_test_list(base: Path) -> Path | None:
    paths = [parent / "cars_test_annos_withlabels.mat" for parent in (base, base / "devkit")]
    return next((path for path in paths if path.is_file()), None)


def _covers_image(box: Corners, file: Path) -> bool:
    """Whether `box` covers nearly the full image; True for an unreadable image."""
    left, top, right, bottom = box
    try:
        with open_image(file, str(file), "") as image:
            width, height = image.size
    except (OSError, BrokenFileError):
        return True  # decoding reports broken images by name
    return right - left >= FULL_SIDE * width and bottom - top >= FULL_SIDE * height


READERS.add("stanford_cars", Reader(splits, read))
