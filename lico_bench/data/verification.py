"""Verification of a dataset copy: counts, class names, and decoding of every image."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from lico_bench.data.cards import load_card
from lico_bench.data.find_dataset import DatasetCopy, find_copy, missing_copy_error
from lico_bench.data.image_files import Fit
from lico_bench.data.read_split import count_notes, find_broken, read_index, reading
from lico_bench.data.readers import READERS, Faults


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
    with reading(copy):
        for split in READERS[copy.layout].splits(copy.folder, card):
            # Missing files are reported and must not stop the verification.
            faults = Faults(skip=True)
            parts.append((split, read_index(card, copy, split, faults), faults.messages))
    total = sum(len(index) for _, index, _ in parts)
    done = 0

    def count_checked(num_images: int) -> None:
        nonlocal done
        done += num_images
        if progress is not None:
            progress(done, total)

    reports = []
    for split, index, missing in parts:
        broken = find_broken(index, fit, with_regions=True, count_checked=count_checked)
        reports.append(
            SplitReport(
                split=split,
                found_count=len(index),
                official_count=card.official_counts.get(split, len(index)),
                num_regions=0 if index.regions is None else len(index.regions),
                broken=(*missing, *broken.values()),
                notes=(*count_notes(card, split, index), *index.notes),
            )
        )
    return DatasetReport(name, copy, tuple(reports))
