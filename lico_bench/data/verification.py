"""Whether a copy of a dataset is whole: counts, class names, every image decoded."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from lico_bench.data.cards import DatasetCard, load_card
from lico_bench.data.find_dataset import Found, find_copy, missing_copy
from lico_bench.data.geometry import Fit
from lico_bench.data.image_source import FileImages, num_workers
from lico_bench.data.read_split import count_notes, read_split
from lico_bench.data.readers import READERS
from lico_bench.data.regions import fit_region
from lico_bench.data.split_index import Faults, SplitIndex
from lico_bench.errors import LicoBenchError

CHUNK = 64  # images per job


@dataclass(frozen=True)
class SplitReport:
    """What was found of one split.

    Attributes:
        broken: one sentence for every image or region that cannot be read.
    """

    split: str
    found_count: int
    official_count: int
    num_regions: int
    broken: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class DatasetReport:
    """What was found of one dataset."""

    name: str
    found: Found
    splits: tuple[SplitReport, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every official image is there."""
        return all(part.found_count == part.official_count for part in self.splits)

    @property
    def is_sound(self) -> bool:
        """Whether everything that is there can be read."""
        return not any(part.broken for part in self.splits)


def verify_dataset(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetReport:
    """Read every image and region of the dataset `name` and report what is broken or missing.

    Args:
        root: the data root; None takes LICO_BENCH_DATA or `./datasets`.
        progress: called with the number of images done and in all.

    Raises:
        MissingDataError: if there is no copy at all.
        BrokenFileError: if an index file cannot be read, so that there is no list to check.
    """
    card = load_card(name, root)
    found = find_copy(card, root)
    if found is None:
        raise missing_copy(card, root)
    fit = Fit.of(card)
    parts = []
    for split in READERS[found.layout].splits(found.folder, card):
        # Listed files that are missing belong into the report and must not end the check.
        faults = Faults(skip=True)
        parts.append((split, read_split(card, found, split, faults), tuple(faults.sentences)))
    total = sum(len(listing) for _, listing, _ in parts)
    reports, done = [], 0
    for split, listing, missing in parts:
        tell = partial(_tell, progress, done, total)
        broken = (*missing, *_broken(listing, fit, tell))
        reports.append(_report(card, split, listing, broken))
        done += len(listing)
    return DatasetReport(name, found, tuple(reports))


def _report(
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


def _broken(listing: SplitIndex, fit: Fit, tell: Callable[[int], None]) -> list[str]:
    """A sentence for each image whose pixels or region cannot be read."""
    if not listing.files:
        tell(len(listing))  # raw pixels were checked when they were listed
        return []
    images = FileImages(listing.files, listing.image_ids, fit)
    found: list[str] = []
    starts = range(0, len(listing), CHUNK)
    with ThreadPoolExecutor(num_workers()) as workers:
        jobs = workers.map(lambda start: _broken_in(listing, images, start), starts)
        for start, sentences in zip(starts, jobs, strict=True):
            found += sentences
            tell(min(start + CHUNK, len(listing)))
    return found


def _broken_in(listing: SplitIndex, images: FileImages, start: int) -> list[str]:
    found = []
    for index in range(start, min(start + CHUNK, len(listing))):
        try:
            images.decode(index)
            if listing.regions is not None:
                fit_region(listing.regions[index], images.fit, *images.stored(index))
        except LicoBenchError as error:
            found.append(str(error))
    return found


def _tell(progress: Callable[[int, int], None] | None, before: int, total: int, count: int) -> None:
    if progress is not None:
        progress(before + count, total)
