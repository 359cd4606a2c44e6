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
from lico_bench.data.find_files import FoundImages, find_images
from lico_bench.data.image_files import FileImages, Fit
from lico_bench.data.readers import Faults, SplitIndex, digest_of, normalise_name
from lico_bench.data.verification import check_image_ids, drop_broken_images, file_size
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
        if self.is_labelled and len(names) != num_classes:
            raise InvalidInputError(
                f"{title}: {len(names)} class folders, but the model has {num_classes} classes, so "
                "the folders cannot be matched; list all class names in index order with "
                "--classes FILE and remove other folders"
            )
        return self.named([f"class {number}" for number in range(num_classes)])

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
        named = replace(self.dataset, class_names=tuple(names), prompt_names=tuple(names))
        return replace(self, dataset=named)


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
    found = find_images(folder)
    names = tuple(found.by_class if classes is None else classes)
    index = _index_images(found, classes)
    faults = Faults(skip=skip_broken)
    found_count = len(index)
    if skip_broken:
        index = drop_broken_images(index, Fit(image_size or DEFAULT_SIZE), faults)
    if not len(index):
        raise BrokenFileError(
            f"{found.folder}: none of its {found_count} images can be decoded; correct --images"
        )
    fit = Fit(image_size or natural_size(index.files))
    sizes = [file_size(file) for file in index.files if isinstance(file, Path)]
    # The label "own images" is part of existing fingerprints.
    digest: list[bytes | str] = [
        "own images", repr(fit), index.labels.astype("<i8").tobytes(), *index.image_ids, *sizes,
    ]  # fmt: skip
    dataset = Dataset(
        name=re.sub(r"\W+", "_", found.folder.name).strip("_").lower() or "images",
        title=found.folder.name or "images",
        split="test",
        source="real",
        class_names=names,
        prompt_names=names,
        labels=torch.from_numpy(index.labels),
        image_ids=index.image_ids,
        found_count=found_count,
        official_count=found_count,
        mean=MEAN,
        std=STD,
        test_from_train=False,
        notes=(*index.notes, *faults.messages),
        fingerprint=digest_of(digest),
        image_source=FileImages(index.files, index.image_ids, fit),
    )
    return UserImages(dataset, bool(found.by_class), has_names=classes is not None)


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
    images, side = FileImages(tuple(files), ("",) * len(files), Fit(DEFAULT_SIZE)), 0
    for index in range(len(files)):
        try:
            height, width = images.header(index).upright_size
        except (OSError, BrokenFileError):
            return DEFAULT_SIZE  # decoding reports the file by name
        if width != height or width > DEFAULT_SIZE or side not in (0, width):
            return DEFAULT_SIZE
        side = width
    return side or DEFAULT_SIZE


def _index_images(found: FoundImages, classes: Sequence[str] | None) -> SplitIndex:
    """Label the images of class folders by `classes`, or by folder; label 0 without folders."""
    # A name in the list may have blanks where the folder name has underscores.
    key = str if classes is None else normalise_name
    names = list(found.by_class if classes is None else classes)
    class_numbers = {key(name): number for number, name in enumerate(names)}
    files: list[Path] = [] if found.by_class else found.top_level
    labels = [0] * len(files)
    notes = []
    for folder_name, images in found.by_class.items():
        if key(folder_name) not in class_numbers:
            raise InvalidInputError(
                f"{found.folder / folder_name}: --classes has no '{folder_name}'; name the folders "
                f"as in that file ({', '.join(names[:3])}, ...)"
            )
        files += images
        labels += [class_numbers[key(folder_name)]] * len(images)
    title = found.folder.name
    if found.by_class and found.top_level:
        notes.append(
            f"{title}: {len(found.top_level)} images beside the class folders are left out"
        )
    is_numbered = classes is None and all(name.isdecimal() for name in names)
    if is_numbered and names != sorted(names, key=int):
        notes.append(
            f"{title}: folders are numbered in alphabetical order, as ImageFolder does "
            "(10 before 2); --classes gives another order"
        )
    image_ids = tuple(file.relative_to(found.folder).as_posix() for file in files)
    check_image_ids(found.folder, image_ids)
    return SplitIndex(
        np.array(labels, dtype=np.int64), image_ids, files=tuple(files), notes=tuple(notes)
    )
