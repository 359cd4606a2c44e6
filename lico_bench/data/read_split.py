"""From a found copy to a checked listing, its pixels and its fingerprint."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from lico_bench.data.cards import DatasetCard
from lico_bench.data.find_dataset import Found
from lico_bench.data.geometry import Fit
from lico_bench.data.image_source import ArrayImages, FileImages, ImageSource, num_workers
from lico_bench.data.readers import READERS
from lico_bench.data.split_index import Faults, SplitIndex, check_ids, digest_of
from lico_bench.errors import BrokenFileError, LicoBenchError, MissingDataError

RESIZED_AT_ONCE = 1024  # antialiased resizing works in floats, four times the bytes


def read_split(card: DatasetCard, found: Found, split: str, faults: Faults) -> SplitIndex:
    """What the files of `found` say of one split.

    Raises:
        MissingDataError: if an index file, the whole split or a listed image is missing.
        BrokenFileError: if an index file contradicts the card or itself.
    """
    try:
        listing = READERS[found.layout].read(found.folder, split, card, faults)
    except LicoBenchError:
        raise
    except OSError as error:
        raise unreadable(found, error) from error
    if not len(listing):
        raise MissingDataError(
            f"{found.folder}: no {split} images of {card.title}; expected {card.expects}"
        )
    check_ids(found.folder, listing.image_ids)
    seen: set[str] = set()
    for image_id in listing.image_ids:
        if image_id in seen:
            raise BrokenFileError(
                f"{found.folder}: image '{image_id}' is listed twice; "
                "take the list from the official archive"
            )
        seen.add(image_id)
    return listing


def unreadable(found: Found, error: OSError) -> BrokenFileError:
    """The error for files that the operating system does not let us read."""
    return BrokenFileError(
        f"{error.filename or found.folder}: cannot be read ({error.strerror or error}); "
        "change its permissions, or name another folder with --data-root"
    )


def count_notes(card: DatasetCard, split: str, listing: SplitIndex) -> list[str]:
    """Sentences on images and classes that a copy lacks."""
    notes = []
    official = card.official_counts.get(split, len(listing))
    if len(listing) != official:
        notes.append(f"{card.title}: {len(listing):,} of {official:,} {split} images found")
    num_present = len(np.unique(listing.labels))
    if num_present != len(card.class_names):
        notes.append(
            f"{card.title}: {num_present:,} of {len(card.class_names):,} classes have "
            f"{split} images"
        )
    return notes


def open_images(listing: SplitIndex, fit: Fit) -> ImageSource:
    """The images of `listing`, in memory where the layout holds raw pixels."""
    if listing.pixels is None:
        return FileImages(listing.files, listing.image_ids, fit)
    pixels = torch.from_numpy(np.ascontiguousarray(listing.pixels))
    if tuple(pixels.shape[2:]) != (fit.size, fit.size):
        from torchvision.transforms.v2 import functional as transforms  # seconds to import

        portions = pixels.split(RESIZED_AT_ONCE)
        pixels = torch.cat([transforms.resize(p, [fit.size] * 2, antialias=True) for p in portions])
    return ArrayImages(pixels)


def without_broken(listing: SplitIndex, fit: Fit, faults: Faults) -> SplitIndex:
    """`listing` without the images that do not decode, each recorded in `faults`."""
    if listing.pixels is not None:
        return listing
    images = FileImages(listing.files, listing.image_ids, fit)

    def fault(index: int) -> LicoBenchError | None:
        try:
            images.decode(index)
        except LicoBenchError as error:
            return error
        return None

    with ThreadPoolExecutor(num_workers()) as workers:
        found = list(workers.map(fault, range(len(listing))))
    for error in filter(None, found):
        faults.report(error)
    return listing.take(np.array([i for i, e in enumerate(found) if e is None], dtype=np.int64))


def fingerprint(card: DatasetCard, found: Found, listing: SplitIndex, fit: Fit) -> str:
    """Hash of what decides the tensors: pixels, or names and sizes of files, and the transform."""
    parts: list[bytes | str] = [
        card.name, found.layout, repr(fit), listing.digest, listing.labels.astype("<i8").tobytes(),
        *listing.image_ids,
    ]  # fmt: skip
    if listing.pixels is not None:
        parts.append(np.ascontiguousarray(listing.pixels).tobytes())
    parts += [file if isinstance(file, bytes) else _size(file) for file in listing.files]
    return digest_of(parts)


def _size(file: Path) -> str:
    try:
        return str(file.stat().st_size)
    except FileNotFoundError:
        return "missing"  # reported with its name when it is read
