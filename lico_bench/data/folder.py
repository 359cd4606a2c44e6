"""A folder of a user's own images as a dataset: `DIR/<class>/*` with labels, or `DIR/*` without.

Class numbers follow the sorted names of the class folders, as torchvision's ImageFolder counts
them, or the list of names that is given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lico_bench.checks import check_count
from lico_bench.data.dataset import Dataset
from lico_bench.data.geometry import Fit
from lico_bench.data.image_files import open_image, stored_image
from lico_bench.data.image_source import FileImages
from lico_bench.data.index_files import comparable
from lico_bench.data.read_split import without_broken
from lico_bench.data.split_index import Faults, SplitIndex, check_ids, digest_of
from lico_bench.data.user_images import find_images, folders_in, images_in
from lico_bench.errors import BrokenFileError, InvalidInputError

USUAL_SIZE = 224  # px; what most published classifiers were trained at
# ImageNet's, the usual colour of "nothing" where nobody knows what a model was trained on.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class UserImages:
    """A user's images.

    Attributes:
        dataset: labels are 0 and class names empty while they are not known.
        is_labelled: whether the folder says of each image what it shows.
        has_names: whether the class names were given in the order of the model's classes.
    """

    dataset: Dataset
    is_labelled: bool
    has_names: bool

    def for_classes(self, num_classes: int) -> UserImages:
        """These images for a model of `num_classes`, checked to mean the same classes.

        Raises:
            InvalidInputError: if folder, list of names and model do not agree on the classes.
        """
        names, title = self.dataset.class_names, self.dataset.title
        if self.has_names and len(names) != num_classes:
            raise InvalidInputError(
                f"--classes: expected {num_classes} names, one for each class of the model, got "
                f"{len(names)}; list all of them in index order"
            )
        if self.is_labelled and len(names) > num_classes:
            raise InvalidInputError(
                f"{title}: {len(names)} class folders, but the model has {num_classes} classes; "
                "name its classes in index order with --classes FILE, and leave out other folders"
            )
        if self.is_labelled and len(names) < num_classes:
            raise InvalidInputError(
                f"{title}: {len(names)} class folders for {num_classes} classes of the model, so "
                "which folder is which class is not known; list the names of all classes in index "
                "order with --classes FILE"
            )
        if not names:
            names = tuple(f"class {number}" for number in range(num_classes))
        return replace(self, dataset=_renamed(self.dataset, names))

    def with_targets(self, targets: Tensor, message: str) -> UserImages:
        """These unlabelled images with classes to explain; `told` says where they come from."""
        title = self.dataset.title
        note = (
            f"{title}: no class folders, so the class explained is the one that {message}; "
            "accuracy is not known"
        )
        dataset = replace(
            self.dataset,
            labels=targets.to(torch.int64),
            notes=(*self.dataset.notes, note),
            fingerprint=digest_of([self.dataset.fingerprint, targets.numpy().tobytes()]),
        )
        return replace(self, dataset=dataset)

    def named(self, names: Sequence[str]) -> UserImages:
        """These images with class names where none are known."""
        if self.dataset.class_names:
            return self
        return replace(self, dataset=_renamed(self.dataset, tuple(names)))


def load_folder(
    folder: Path,
    *,
    image_size: int | None = None,
    classes: Sequence[str] | None = None,
    skip_broken: bool = False,
) -> UserImages:
    """The images of `folder`, decoded when they are asked for.

    Args:
        image_size: px; the shorter side is brought to it and the centre cut out. None takes the
            images' own where all are squares of one size up to 224 px, else 224.
        classes: names of the model's classes in index order; folders are named like them.
        skip_broken: leave unreadable images out and note it, instead of raising.

    Raises:
        MissingDataError: if there is no such folder or no image in it.
        InvalidInputError: for folders that are no classes.
        BrokenFileError: for an unreadable image, when it is read.
    """
    if image_size is not None:
        check_count("--image-size", image_size)
    folder, loose, class_folders = find_images(folder)
    listing = _labelled(folder, classes, loose) if class_folders else _unlabelled(folder, loose)
    names = tuple(classes or ())
    if class_folders and classes is None:
        names = tuple(f.name for f in folders_in(folder))
    faults = Faults(skip=skip_broken)
    found_count = len(listing)
    if skip_broken:
        listing = without_broken(listing, Fit(image_size or USUAL_SIZE, "crop", 1.0, 0), faults)
    if not len(listing):
        raise BrokenFileError(f"{folder}: none of its {found_count} images can be decoded")
    fit = Fit(image_size or natural_size(listing.files), "crop", 1.0, 0)
    return UserImages(
        _dataset(folder, listing, fit, names, found_count, faults),
        is_labelled=bool(class_folders),
        has_names=classes is not None,
    )


def load_images(
    folder: str | Path, *, image_size: int | None = None, classes: Sequence[str] | None = None
) -> Dataset:
    """The labelled images of a folder with one folder per class, for `lico_bench.evaluate`.

    Args:
        image_size, classes: as for `load_folder`; classes are the folders' sorted names if None.

    Raises:
        InvalidInputError: for images without class folders, and as `load_folder`.
    """
    found = load_folder(Path(folder), image_size=image_size, classes=classes)
    if not found.is_labelled:
        raise InvalidInputError(
            f"{folder}: expected a folder of images per class, got images without labels; "
            "sort them into folders, or use `lico-bench score`, which explains what is predicted"
        )
    return found.dataset


def natural_size(files: Sequence[Path | bytes]) -> int:
    """The side in px of images that are all squares of one size up to 224; else 224."""
    side = 0
    for file in files:
        height, width = _size(file)
        if width != height or not 0 < width <= USUAL_SIZE or side not in (0, width):
            return USUAL_SIZE
        side = width
    return side or USUAL_SIZE


def _size(file: Path | bytes) -> tuple[int, int]:
    try:
        with open_image(file, "", "") as image:
            return stored_image(image).upright
    except (OSError, BrokenFileError):
        return 0, 0  # told with its name when it is decoded


def _unlabelled(folder: Path, files: list[Path]) -> SplitIndex:
    image_ids = tuple(f.relative_to(folder).as_posix() for f in files)
    check_ids(folder, image_ids)
    return SplitIndex(
        labels=np.zeros(len(files), dtype=np.int64),
        image_ids=image_ids,
        files=tuple(files),
    )


def _labelled(folder: Path, classes: Sequence[str] | None, loose: list[Path]) -> SplitIndex:
    class_folders = folders_in(folder)
    names = [f.name for f in class_folders]
    # Names in a list may be spelt with blanks for underscores; folders are what they are.
    key = str if classes is None else comparable
    index = {key(name): number for number, name in enumerate(classes or names)}
    files: list[Path] = []
    labels: list[int] = []
    for place in class_folders:
        found = images_in(place, deep=True)
        if key(place.name) not in index:
            raise InvalidInputError(
                f"{place}: --classes has no '{place.name}'; name the folders as in that file "
                f"({', '.join(list(classes or ())[:3])}, ...)"
            )
        files += found
        labels += [index[key(place.name)]] * len(found)
    listing = _unlabelled(folder, files)
    notes = []
    if loose:
        notes.append(f"{folder.name}: {len(loose)} images beside the class folders are left out")
    if classes is None and _counts_past_nine(names):
        notes.append(
            f"{folder.name}: folders are numbered in alphabetical order, as ImageFolder does "
            "(10 before 2); --classes gives another order"
        )
    return replace(listing, labels=np.array(labels, dtype=np.int64), notes=tuple(notes))


def _counts_past_nine(names: list[str]) -> bool:
    if not all(name.isdigit() for name in names):
        return False
    return [int(name) for name in names] != sorted(int(name) for name in names)


def _dataset(
    folder: Path, listing: SplitIndex, fit: Fit, names: tuple[str, ...], found: int, faults: Faults
) -> Dataset:
    slug = re.sub(r"\W+", "_", folder.name).strip("_").lower() or "images"
    sizes = [_bytes_of(f) for f in listing.files if isinstance(f, Path)]
    digest: list[bytes | str] = ["own images", repr(fit), listing.labels.astype("<i8").tobytes()]
    return Dataset(
        name=slug,
        title=folder.name or "images",
        split="test",
        source="real",
        class_names=names,
        prompt_names=names,
        labels=torch.from_numpy(listing.labels),
        image_ids=listing.image_ids,
        found_count=found,
        official_count=found,
        mean=MEAN,
        std=STD,
        test_from_train=False,
        notes=(*listing.notes, *faults.sentences),
        fingerprint=digest_of([*digest, *listing.image_ids, *sizes]),
        image_source=FileImages(listing.files, listing.image_ids, fit),
    )


def _bytes_of(file: Path) -> str:
    try:
        return str(file.stat().st_size)
    except OSError:
        return "missing"  # told with its name when it is read


def _renamed(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    return replace(dataset, class_names=names, prompt_names=names)
