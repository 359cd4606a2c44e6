"""A split of a dataset copy: validated index, selection and fingerprint, without opened images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lico_bench.checks import find_duplicate, is_single_line
from lico_bench.data.cards import DatasetCard
from lico_bench.data.find_dataset import DatasetCopy
from lico_bench.data.image_files import Fit
from lico_bench.data.image_source import FileImages, num_workers
from lico_bench.data.readers import READERS, Faults, SplitIndex, digest_of
from lico_bench.data.regions import fit_region
from lico_bench.data.selection import Selection, complement, hold_out
from lico_bench.errors import BrokenFileError, LicoBenchError, MissingDataError

TEST_FRACTION = 0.2  # share of each training class that serves as test without an official test
IMAGES_PER_JOB = 64
_broken_of: dict[str, dict[int, str]] = {}  # result of `find_broken` by the state of the files


@dataclass(frozen=True)
class SelectedSplit:
    """The selected images of a split.

    Attributes:
        found_count: number of images found for this split, before the selection.
        test_from_train: True if a share of the training images serves as test.
    """

    index: SplitIndex
    fit: Fit
    found_count: int
    official_count: int
    test_from_train: bool
    notes: tuple[str, ...]
    fingerprint: str


def select_split(
    card: DatasetCard,
    copy: DatasetCopy,
    selection: Selection,
    *,
    image_size: int | None,
    skip_broken: bool,
) -> SelectedSplit:
    """Read the index of a split and select images; raises as `load_dataset`."""
    with reading(copy):
        faults = Faults(skip=skip_broken)
        present = READERS[copy.layout].splits(copy.folder, card)
        from_train = "test" not in present
        official = selection.split if selection.split in present else "train"
        if official not in present:
            kind = "train or test" if from_train else "training"
            raise MissingDataError(
                f"{copy.folder}: no {kind} images of {card.title}; expected {card.expects}"
            )
        fit = Fit.of(card, image_size)
        index = read_index(card, copy, official, faults)
        if skip_broken:
            index = drop_broken_images(index, fit, faults)
        notes = [*count_notes(card, official, index), *index.notes, *faults.messages]
        found_count = len(index)
        official_count = card.official_counts.get(official, found_count)
        if from_train:
            held = hold_out(index.labels, index.image_ids, TEST_FRACTION, salt="test")
            notes.append(
                f"{card.title}: the official test images are absent; {len(held):,} of the "
                f"{len(index):,} training images, the same share of each class, serve as test and "
                "are never trained on"
            )
            is_test = selection.split == "test"
            index = index.take(held if is_test else complement(len(index), held))
            if is_test:
                found_count, official_count = len(index), card.official_counts["test"]
        is_official_val = selection.split == official == "val"
        selected = index.take(
            selection.positions(index.labels, index.image_ids, is_official_val=is_official_val)
        )
        return SelectedSplit(
            selected, fit, found_count, official_count, from_train, tuple(notes),
            _fingerprint(card, copy, selected, fit),
        )  # fmt: skip


@contextmanager
def reading(copy: DatasetCopy) -> Iterator[None]:
    """Convert an error of the operating system inside the block to BrokenFileError."""
    try:
        yield
    except LicoBenchError:
        raise
    except OSError as error:
        raise BrokenFileError(
            f"{error.filename or copy.folder}: cannot be read ({error.strerror or error}); "
            "change its permissions, or name another folder with --data-root"
        ) from error


def read_index(card: DatasetCard, copy: DatasetCopy, split: str, faults: Faults) -> SplitIndex:
    """Read and validate the index of one split.

    Raises:
        MissingDataError: if an index file, the whole split or a listed image is missing.
        BrokenFileError: if an index file is inconsistent or contradicts the card.
    """
    index = READERS[copy.layout].read(copy.folder, split, card, faults)
    if not len(index):
        raise MissingDataError(
            f"{copy.folder}: no {split} images of {card.title}; expected {card.expects}"
        )
    check_image_ids(copy.folder, index.image_ids)
    duplicate = find_duplicate(index.image_ids)
    if duplicate is not None:
        raise BrokenFileError(
            f"{copy.folder}: image '{duplicate}' is listed twice; "
            "take the list from the official archive"
        )
    return index


def check_image_ids(folder: Path, image_ids: tuple[str, ...]) -> None:
    """Check that all image names are printable.

    Raises:
        BrokenFileError: if a name has control characters or is not valid UTF-8.
    """
    invalid = next((name for name in image_ids if not is_single_line(name)), None)
    if invalid is not None:
        raise BrokenFileError(
            f"{folder}: image name '{invalid}' has control characters or is not valid UTF-8; "
            "rename the image"
        )


def count_notes(card: DatasetCard, split: str, index: SplitIndex) -> list[str]:
    """Return notes on the images and classes that a copy lacks."""
    notes = []
    official = card.official_counts.get(split, len(index))
    if len(index) != official:
        notes.append(f"{card.title}: {len(index):,} of {official:,} {split} images found")
    num_present = len(np.unique(index.labels))
    if num_present != len(card.class_names):
        notes.append(
            f"{card.title}: {num_present:,} of {len(card.class_names):,} classes have "
            f"{split} images"
        )
    return notes


def find_broken(
    index: SplitIndex,
    fit: Fit,
    *,
    with_regions: bool = False,
    count_checked: Callable[[int], None] = lambda _: None,
) -> dict[int, str]:
    """Decode all images and return a message for each unreadable one by position.

    Args:
        with_regions: read the regions, too.
        count_checked: called with the number of images of each finished part.
    """
    if index.pixels is not None:
        count_checked(len(index))  # the reader has already checked raw pixels
        return {}
    images = FileImages(index.files, index.image_ids, fit)
    regions = index.regions if with_regions else None

    def check(positions: range) -> dict[int, str]:
        messages = {}
        for position in positions:
            try:
                images.decode(position)
                if regions is not None:
                    fit_region(regions[position], fit, *images.header(position))
            except LicoBenchError as error:
                messages[position] = str(error)
        return messages

    starts = range(0, len(index), IMAGES_PER_JOB)
    jobs = [range(start, min(start + IMAGES_PER_JOB, len(index))) for start in starts]
    broken: dict[int, str] = {}
    with ThreadPoolExecutor(num_workers()) as workers:
        for job, messages in zip(jobs, workers.map(check, jobs), strict=True):
            broken |= messages
            count_checked(len(job))
    return broken


def drop_broken_images(index: SplitIndex, fit: Fit, faults: Faults) -> SplitIndex:
    """Remove the images that cannot be decoded and add their messages to `faults`.

    A split is decoded once in this process while its files are unchanged: planning it and loading
    it ask the same.
    """
    state = digest_of([repr(fit), *index.image_ids, *map(_file_state, index.files)])
    if state not in _broken_of:
        _broken_of[state] = find_broken(index, fit)
    broken = _broken_of[state]
    faults.messages += broken.values()
    if not broken:
        return index
    return index.take(complement(len(index), np.array([*broken], dtype=np.int64)))


def _file_state(file: Path | bytes) -> bytes | str:
    """Return what changes with a file: name, size and times, or the encoded bytes themselves."""
    if isinstance(file, bytes):
        return file
    try:
        stat = file.stat()
    except OSError as error:
        return f"{file} {error.errno}"
    return f"{file} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def file_size(file: Path) -> str:
    """Return the size of a file in bytes, for fingerprints; `missing` without a file."""
    try:
        return str(file.stat().st_size)
    except FileNotFoundError:
        return "missing"  # decoding reports the file by name


def _fingerprint(card: DatasetCard, copy: DatasetCopy, index: SplitIndex, fit: Fit) -> str:
    """Return a hash of the labels, the transform, and the pixels or file names and sizes."""
    parts: list[bytes | str] = [
        card.name, copy.layout, repr(fit), index.digest, index.labels.astype("<i8").tobytes(),
        *index.image_ids,
    ]  # fmt: skip
    if index.pixels is not None:
        parts.append(np.ascontiguousarray(index.pixels).tobytes())
    parts += [file if isinstance(file, bytes) else file_size(file) for file in index.files]
    return digest_of(parts)
