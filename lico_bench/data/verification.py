"""Verification of a dataset copy: index, image names, counts, and decoding of every image."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from lico_bench.checks import find_duplicate, is_single_line
from lico_bench.data.cards import DatasetCard, load_card
from lico_bench.data.find_files import DatasetCopy, find_copy, missing_copy_error, reading
from lico_bench.data.image_files import FileImages, Fit, num_workers
from lico_bench.data.readers import READERS, Faults, SplitIndex, digest_of
from lico_bench.data.regions import fit_region
from lico_bench.data.selection import complement
from lico_bench.errors import BrokenFileError, LicoBenchError, MissingDataError

IMAGES_PER_JOB = 64
_broken_of: dict[str, dict[int, str]] = {}  # unreadable images by the state of the files


@dataclass(frozen=True)
class SplitReport:
    """Verification result of one split.

    Attributes:
        broken: one message per image or region that cannot be read.
    """

    split: str
    found_count: int
    official_count: int
    num_regions: int
    broken: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class DatasetReport:
    """Verification result of one dataset."""

    name: str
    copy: DatasetCopy
    splits: tuple[SplitReport, ...]

    @property
    def is_sound(self) -> bool:
        """Whether all present images and regions can be read."""
        return not any(part.broken for part in self.splits)


def verify_dataset(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetReport:
    """Read every image and region of the dataset `name` and list broken and missing ones.

    Args:
        root: the data root; None means LICO_BENCH_DATA or `./datasets`.
        progress: called with the number of images checked and the total.

    Raises:
        MissingDataError: if there is no copy.
        BrokenFileError: if an index file cannot be read.
    """
    card = load_card(name, root)
    copy = find_copy(card, root)
    if copy is None:
        raise missing_copy_error(card, root)
    parts = []
    with reading(copy.folder):
        for split in READERS[copy.layout].splits(copy.folder, card):
            # Missing files are reported and must not stop the verification.
            faults = Faults(skip=True)
            parts.append((split, read_index(card, copy, split, faults), faults.messages))
    done, total = 0, sum(len(index) for _, index, _ in parts)
    reports = []
    for split, index, broken in parts:
        for num_checked, messages in _find_broken(index, Fit.of(card), with_regions=True):
            broken += messages.values()
            done += num_checked
            if progress is not None:
                progress(done, total)
        reports.append(
            SplitReport(
                split=split,
                found_count=len(index),
                official_count=card.official_counts.get(split, len(index)),
                num_regions=0 if index.regions is None else len(index.regions),
                broken=tuple(broken),
                notes=(*count_notes(card, split, index), *index.notes),
            )
        )
    return DatasetReport(name, copy, tuple(reports))


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


def drop_broken_images(index: SplitIndex, fit: Fit, faults: Faults) -> SplitIndex:
    """Remove the images that cannot be decoded and add their messages to `faults`.

    A split is decoded once in this process while its files are unchanged: planning it and loading
    it ask the same.
    """
    state = digest_of([repr(fit), *index.image_ids, *map(_file_state, index.files)])
    if state not in _broken_of:
        parts = [messages.items() for _, messages in _find_broken(index, fit)]
        _broken_of[state] = dict(chain.from_iterable(parts))
    broken = _broken_of[state]
    faults.messages += broken.values()
    return index.take(complement(len(index), np.array([*broken], dtype=np.int64)))


def file_size(file: Path) -> str:
    """Return the size of a file in bytes, for fingerprints; `missing` without a file."""
    try:
        return str(file.stat().st_size)
    except FileNotFoundError:
        return "missing"  # decoding reports the file by name


def _find_broken(
    index: SplitIndex, fit: Fit, *, with_regions: bool = False
) -> Iterator[tuple[int, dict[int, str]]]:
    """Decode all images, and optionally the regions.

    Yields:
        Of each part, the number of images and a message for each unreadable one by position.
    """
    if index.pixels is not None:
        yield len(index), {}  # the reader has already checked raw pixels
        return
    images = FileImages(index.files, index.image_ids, fit)
    regions = index.regions if with_regions else None

    def check(positions: range) -> tuple[int, dict[int, str]]:
        messages = {}
        for position in positions:
            try:
                images.decode(position)
                if regions is not None:
                    fit_region(regions[position], fit, *images.header(position))
            except LicoBenchError as error:
                messages[position] = str(error)
        return len(positions), messages

    every = range(len(index))
    jobs = [every[start : start + IMAGES_PER_JOB] for start in every[::IMAGES_PER_JOB]]
    with ThreadPoolExecutor(num_workers()) as workers:
        yield from workers.map(check, jobs)


def _file_state(file: Path | bytes) -> bytes | str:
    """Return what changes with a file: name, size and times, or the encoded bytes themselves."""
    if isinstance(file, bytes):
        return file
    try:
        stat = file.stat()
    except OSError as error:
        return f"{file} {error.errno}"
    return f"{file} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
