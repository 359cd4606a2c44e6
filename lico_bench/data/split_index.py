"""The index of one split, as returned by a layout reader before any image is decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lico_bench.checks import is_single_line
from lico_bench.data.cards import DatasetCard
from lico_bench.data.regions import Region
from lico_bench.errors import BrokenFileError, LicoBenchError


@dataclass(frozen=True)
class SplitIndex:
    """Labels and images of one split, with either raw `pixels` or one entry of `files` per image.

    Attributes:
        labels: (N,) int64 in the card's class order.
        image_ids: stable and unique within the dataset.
        pixels: (N, 3, H, W) uint8, or None.
        files: path or encoded bytes per image; empty if `pixels` is set.
        regions: object region per image, or None without ground truth.
        digest: hash of the index files; part of the dataset's fingerprint.
        notes: sentences for the report.
    """

    labels: NDArray[np.int64]
    image_ids: tuple[str, ...]
    pixels: NDArray[np.uint8] | None = None
    files: tuple[Path | bytes, ...] = ()
    regions: tuple[Region, ...] | None = None
    digest: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    def take(self, indices: NDArray[np.int64]) -> SplitIndex:
        """Return the index of the images at `indices`, in that order."""
        return replace(
            self,
            labels=self.labels[indices],
            image_ids=tuple(self.image_ids[i] for i in indices),
            pixels=None if self.pixels is None else self.pixels[indices],
            files=tuple(self.files[i] for i in indices) if self.files else (),
            regions=None if self.regions is None else tuple(self.regions[i] for i in indices),
        )


class Faults:
    """Policy for broken entries: raise the first error, or skip them and collect the messages."""

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        self.messages: list[str] = []

    def report(self, error: LicoBenchError) -> None:
        """Raise `error`, or record its message if broken entries are skipped."""
        if not self.skip:
            raise error
        self.messages.append(str(error))


class Reader(NamedTuple):
    """Functions that read one layout.

    `splits(folder, card)` returns the names of the available splits; `read(folder, split, card,
    faults)` returns the index of one split.
    """

    splits: Callable[[Path, DatasetCard], tuple[str, ...]]
    read: Callable[[Path, str, DatasetCard, Faults], SplitIndex]


def check_image_ids(folder: Path, image_ids: Iterable[str]) -> None:
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


def digest_of(parts: Iterable[bytes | str]) -> str:
    """Return the hex SHA-256 of `parts`; each part is prefixed by its length."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()
