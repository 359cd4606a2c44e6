"""A folder of user images as a dataset: labelled (`DIR/<class>/*`) or unlabelled (`DIR/*`).

Class numbers follow the sorted folder names, as in torchvision's ImageFolder, or a given list of
names.
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
from lico_bench.data.image_files import open_image, read_header
from lico_bench.data.image_source import FileImages
from lico_bench.data.index_files import normalise_name
from lico_bench.data.read_split import drop_broken_images
from lico_bench.data.split_index import Faults, SplitIndex, check_image_ids, digest_of
from lico_bench.data.user_images import find_images, folders_in, images_in
from lico_bench.errors import BrokenFileError, InvalidInputError

DEFAULT_SIZE = 224  # px; input size of most published classifiers
# ImageNet statistics: the training data of a user model is unknown.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class UserImages:
    """User images and what is known about their classes.

    Attributes:
        dataset: labels are 0 and class names empty while unknown.
        is_labelled: whether class folders give the label of each image.
        has_names: whether a list of the model's class names was given.
    """

    dataset: Dataset
    is_labelled: bool
    has_names: bool

    def for_classes(self, num_classes: int) -> UserImages:
        """Return these images for a model with `num_classes` classes.

        Raises:
            InvalidInputError: if the folders, the list of names and the model disagree on the
                classes.
        """
        names, title = self.dataset.class_names, self.dataset.title
        if self.has_names and len(names) != num_classes:
            raise InvalidInputError(
                f"--classes: expected {num_classes} names, one per class of the model, got "
                f"{len(names)}; list all names in index order"
            )
        if self.is_labelled and len(names) > num_classes:
            raise InvalidInputError(
                f"{title}: {len(names)} class folders, but the model has {num_classes} classes; "
                "list its classes in index order with --classes FILE and remove other folders"
            )
        if self.is_labelled and len(names) < num_classes:
            raise InvalidInputError(
                f"{title}: {len(names)} class folders, but the model has {num_classes} classes, so "
                "the folders cannot be matched; list all class names in index order with "
                "--classes FILE"
            )
        if not names:
            names = tuple(f"class {number}" for number in range(num_classes))
        return replace(self, dataset=_renamed(self.dataset, names))

    def with_targets(self, targets: Tensor, origin: str) -> UserImages:
        """Return these unlabelled images with target classes.

        Args:
            targets: (N,), the classes to explain.
            origin: origin of the targets for the note, such as "'model' predicts".
        """
        title = self.dataset.title
        note = (
            f"{title}: no class folders, so the class explained is the one that {origin}; "
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
        """Return these images with class names, unless names are known."""
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
    """Load the images of `folder`; images are decoded on demand.

    Args:
        image_size: px; the shorter side is resized to it and the centre is cropped. None means
            `natural_size`.
        classes: names of the model's classes in index order; folder names must match them.
        skip_broken: skip unreadable images and note them, instead of raising.

    Raises:
        MissingDataError: if the folder does not exist or has no images.
        InvalidInputError: for folders that are not classes.
        BrokenFileError: if no image can be decoded; otherwise for each unreadable image, on access.
    """
    if image_size is not None:
        check_count("--image-size", image_size)
    folder, top_level, class_folders = find_images(folder)
    if class_folders:
        listing = _index_labelled(folder, classes, top_level)
    else:
        listing = _index_unlabelled(folder, top_level)
    names = tuple(classes or ())
    if class_folders and classes is None:
        names = tuple(f.name for f in folders_in(folder))
    faults = Faults(skip=skip_broken)
    found_count = len(listing)
    if skip_broken:
        fit = Fit(image_size or DEFAULT_SIZE, "crop", 1.0, 0)
        listing = drop_broken_images(listing, fit, faults)
    if not len(listing):
        raise BrokenFileError(
            f"{folder}: none of its {found_count} images can be decoded; correct --images"
        )
    fit = Fit(image_size or natural_size(listing.files), "crop", 1.0, 0)
    return UserImages(
        _build_dataset(folder, listing, fit, names, found_count, faults),
        is_labelled=bool(class_folders),
        has_names=classes is not None,
    )


def load_images(
    folder: str | Path, *, image_size: int | None = None, classes: Sequence[str] | None = None
) -> Dataset:
    """Load labelled images from a folder with one subfolder per class, for `lico_bench.evaluate`.

    Args:
        image_size, classes: as for `load_folder`; None means the sorted folder names as classes.

    Raises:
        InvalidInputError: if there are no class folders; other errors as in `load_folder`.
    """
    images = load_folder(Path(folder), image_size=image_size, classes=classes)
    if not images.is_labelled:
        raise InvalidInputError(
            f"{folder}: expected a folder of images per class, got images without labels; "
            "sort them into folders, or use `lico-bench score`, which explains the predicted class"
        )
    return images.dataset


def natural_size(files: Sequence[Path | bytes]) -> int:
    """Return the side in px if all images are squares of one size up to 224, else 224."""
    side = 0
    for file in files:
        height, width = _image_size(file)
        if width != height or not 0 < width <= DEFAULT_SIZE or side not in (0, width):
            return DEFAULT_SIZE
        side = width
    return side or DEFAULT_SIZE


def _image_size(file: Path | bytes) -> tuple[int, int]:
    try:
        with open_image(file, "", "") as image:
            return read_header(image).upright_size
    except (OSError, BrokenFileError):
        return 0, 0  # decoding reports the file by name


def _index_unlabelled(folder: Path, files: list[Path]) -> SplitIndex:
    image_ids = tuple(f.relative_to(folder).as_posix() for f in files)
    check_image_ids(folder, image_ids)
    return SplitIndex(
        labels=np.zeros(len(files), dtype=np.int64),
        image_ids=image_ids,
        files=tuple(files),
    )


def _index_labelled(
    folder: Path, classes: Sequence[str] | None, top_level: list[Path]
) -> SplitIndex:
    class_folders = folders_in(folder)
    names = [f.name for f in class_folders]
    # A name in the list may have blanks where the folder name has underscores.
    key = str if classes is None else normalise_name
    class_numbers = {key(name): number for number, name in enumerate(classes or names)}
    files: list[Path] = []
    labels: list[int] = []
    for class_folder in class_folders:
        images = images_in(class_folder, deep=True)
        if key(class_folder.name) not in class_numbers:
            raise InvalidInputError(
                f"{class_folder}: --classes has no '{class_folder.name}'; name the folders as in "
                f"that file ({', '.join(list(classes or ())[:3])}, ...)"
            )
        files += images
        labels += [class_numbers[key(class_folder.name)]] * len(images)
    listing = _index_unlabelled(folder, files)
    notes = []
    if top_level:
        notes.append(
            f"{folder.name}: {len(top_level)} images beside the class folders are left out"
        )
    if classes is None and _is_numeric_order_different(names):
        notes.append(
            f"{folder.name}: folders are numbered in alphabetical order, as ImageFolder does "
            "(10 before 2); --classes gives another order"
        )
    return replace(listing, labels=np.array(labels, dtype=np.int64), notes=tuple(notes))


def _is_numeric_order_different(names: list[str]) -> bool:
    """Whether all names are numbers whose numeric and alphabetical orders differ."""
    if not all(name.isdigit() for name in names):
        return False
    return [int(name) for name in names] != sorted(int(name) for name in names)


def _build_dataset(
    folder: Path,
    listing: SplitIndex,
    fit: Fit,
    names: tuple[str, ...],
    found_count: int,
    faults: Faults,
) -> Dataset:
    slug = re.sub(r"\W+", "_", folder.name).strip("_").lower() or "images"
    sizes = [_file_size(f) for f in listing.files if isinstance(f, Path)]
    # The label "own images" is part of existing fingerprints.
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
        found_count=found_count,
        official_count=found_count,
        mean=MEAN,
        std=STD,
        test_from_train=False,
        notes=(*listing.notes, *faults.messages),
        fingerprint=digest_of([*digest, *listing.image_ids, *sizes]),
        image_source=FileImages(listing.files, listing.image_ids, fit),
    )


def _file_size(file: Path) -> str:
    try:
        return str(file.stat().st_size)
    except OSError:
        return "missing"  # decoding reports the file by name


def _renamed(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    return replace(dataset, class_names=names, prompt_names=names)
