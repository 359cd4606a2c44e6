"""Verification of a dataset copy: counts, class names, and decoding of every image."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from lico_bench.data.cards import DatasetCard, load_card
from lico_bench.data.find_dataset import DatasetCopy, find_copy, missing_copy_error
from lico_bench.data.geometry import Fit
from lico_bench.data.image_source import FileImages, num_workers
from lico_bench.data.read_split import count_notes, read_split
from lico_bench.data.readers import READERS
from lico_bench.data.regions import fit_region
from lico_bench.data.split_index import Faults, SplitIndex
from lico_bench.errors import LicoBenchError

IMAGES_PER_JOB = 64


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
    def is_complete(self) -> bool:
        """Whether all official images are present."""
        return all(part.found_count == part.official_count for part in self.splits)

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
    fit = Fit.of(card)
    parts = []
    for split in READERS[copy.layout].splits(copy.folder, card):
        # Missing files are reported and must not stop the verification.
        faults = Faults(skip=True)
        parts.append((split, read_split(card, copy, split, faults), tuple(faults.messages)))
    total = sum(len(listing) for _, listing, _ in parts)
    reports, done = [], 0
    for split, listing, missing in parts:
        report_progress = partial(_report_progress, progress, done, total)
        broken = (*missing, *_find_broken(listing, fit, report_progress))
        reports.append(_build_report(card, split, listing, broken))
        done += len(listing)
    return DatasetReport(name, copy, tuple(reports))


def _build_report(
    card: DatasetCard, split: str, listing: SplitIndex, broken: tuple[str, ...]
) -> SplitReport:
    return SplitReport(
        split=split,
        found_count=len(listing),
        official_count=card.official_counts.get(split, len(listing)),
        num_regions=0 if listing.regions is None else len(listing.regions),
        broken=broken,
        notes=(*count_notes(card, split, listing), *listing.notes),
    )


def _find_broken(
    listing: SplitIndex, fit: Fit, report_progress: Callable[[int], None]
) -> list[str]:
    """Return a message for each image whose pixels or region cannot be read."""
    if not listing.files:
        report_progress(len(listing))  # the reader has already checked raw pixels
        return []
    images = FileImages(listing.files, listing.image_ids, fit)
    broken: list[str] = []
    starts = range(0, len(listing), IMAGES_PER_JOB)
    with ThreadPoolExecutor(num_workers()) as workers:
        jobs = workers.map(lambda start: _check_images(listing, images, start), starts)
        for start, messages in zip(starts, jobs, strict=True):
            broken += messages
            report_progress(min(start + IMAGES_PER_JOB, len(listing)))
    return broken


def _check_images(listing: SplitIndex, images: FileImages, start: int) -> list[str]:
    messages = []
    for index in range(start, min(start + IMAGES_PER_JOB, len(listing))):
        try:
            images.decode(index)
            if listing.regions is not None:
                fit_region(listing.regions[index], images.fit, *images.header(index))
        except LicoBenchError as error:
            messages.append(str(error))
    return messages


def _report_progress(
    progress: Callable[[int, int], None] | None, offset: int, total: int, count: int
) -> None:
    if progress is not None:
        progress(offset + count, total)
