"""Reading of one split of a dataset copy: validated index, images and fingerprint."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from lico_bench.data.cards import DatasetCard
from lico_bench.data.find_dataset import DatasetCopy
from lico_bench.data.geometry import Fit
from lico_bench.data.image_source import ArrayImages, FileImages, ImageSource, num_workers
from lico_bench.data.readers import READERS
from lico_bench.data.split_index import Faults, SplitIndex, check_image_ids, digest_of
from lico_bench.errors import BrokenFileError, LicoBenchError, MissingDataError

RESIZE_CHUNK = 1024  # antialiased resizing converts to float, four times the bytes


def read_split(card: DatasetCard, copy: DatasetCopy, split: str, faults: Faults) -> SplitIndex:
    """Read and validate the index of one split.

    Raises:
        MissingDataError: if an index file, the whole split or a listed image is missing.
        BrokenFileError: if an index file is inconsistent or contradicts the card.
    """
    try:
        listing = READERS[copy.layout].read(copy.folder, split, card, faults)
    except LicoBenchError:
        raise
    except OSError as error:
        raise unreadable_error(copy, error) from error
    if not len(listing):
        raise MissingDataError(
            f"{copy.folder}: no {split} images of {card.title}; expected {card.expects}"
        )
    check_image_ids(copy.folder, listing.image_ids)
    seen: set[str] = set()
    for image_id in listing.image_ids:
        if image_id in seen:
            raise BrokenFileError(
                f"{copy.folder}: image '{image_id}' is listed twice; "
                "take the list from the official archive"
            )
        seen.add(image_id)
    return listing


def unreadable_error(copy: DatasetCopy, error: OSError) -> BrokenFileError:
    """Build the error for files that the operating system cannot read."""
    return BrokenFileError(
        f"{error.filename or copy.folder}: cannot be read ({error.strerror or error}); "
        "change its permissions, or name another folder with --data-root"
    )


def count_notes(card: DatasetCard, split: str, listing: SplitIndex) -> list[str]:
    """Return notes on the images and classes that a copy lacks."""
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
    """Open the images of `listing`; raw pixels are resized and held in memory."""
    if listing.pixels is None:
        return FileImages(listing.files, listing.image_ids, fit)
    pixels = torch.from_numpy(np.ascontiguousarray(listing.pixels))
    if tuple(pixels.shape[2:]) != (fit.size, fit.size):
        from torchvision.transforms.v2 import functional as transforms  # seconds to import

        chunks = pixels.split(RESIZE_CHUNK)
        pixels = torch.cat([transforms.resize(p, [fit.size] * 2, antialias=True) for p in chunks])
    return ArrayImages(pixels)


def drop_broken_images(listing: SplitIndex, fit: Fit, faults: Faults) -> SplitIndex:
    """Remove the images that cannot be decoded and report each to `faults`."""
    if listing.pixels is not None:
        return listing
    images = FileImages(listing.files, listing.image_ids, fit)

    def decoding_error(index: int) -> LicoBenchError | None:
        try:
            images.decode(index)
        except LicoBenchError as error:
            return error
        return None

    with ThreadPoolExecutor(num_workers()) as workers:
        errors = list(workers.map(decoding_error, range(len(listing))))
    for error in filter(None, errors):
        faults.report(error)
    return listing.take(np.array([i for i, e in enumerate(errors) if e is None], dtype=np.int64))


def fingerprint(card: DatasetCard, copy: DatasetCopy, listing: SplitIndex, fit: Fit) -> str:
    """Return a hash of the labels, the transform, and the pixels or file names and sizes."""
    parts: list[bytes | str] = [
        card.name, copy.layout, repr(fit), listing.digest, listing.labels.astype("<i8").tobytes(),
        *listing.image_ids,
    ]  # fmt: skip
    if listing.pixels is not None:
        parts.append(np.ascontiguousarray(listing.pixels).tobytes())
    parts += [file if isinstance(file, bytes) else _file_size(file) for file in listing.files]
    return digest_of(parts)


def _file_size(file: Path) -> str:
    try:
        return str(file.stat().st_size)
    except FileNotFoundError:
        return "missing"  # decoding reports the file by name
