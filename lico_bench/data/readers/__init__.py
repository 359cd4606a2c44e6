"""Registry of dataset layout readers and the index that a reader returns.

Each module of this package registers the reader of one layout. A reader lists labels and files of
a split; it decodes no image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lico_bench.data.cards import DatasetCard
from lico_bench.errors import LicoBenchError, MissingDataError
from lico_bench.registry import Registry

if TYPE_CHECKING:
    from lico_bench.data.regions import Region


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


@dataclass
class Faults:
    """Policy for broken entries: raise the first error, or skip them and collect the messages."""

    skip: bool
    messages: list[str] = field(default_factory=list)

    def report(self, error: LicoBenchError) -> None:
        """Raise `error`, or record its message if broken entries are skipped."""
        if not self.skip:
            raise error
        self.messages.append(str(error))


class ImageList:
    """Collects the images named by a list of a dataset; a missing file is a fault.

    Args:
        source: name of the list, for messages.
    """

    def __init__(self, source: str, faults: Faults) -> None:
        self._source, self._faults = source, faults
        self._labels: list[int] = []
        self._image_ids: list[str] = []
        self.files: list[Path] = []
        self._regions: list[Region] = []

    def add(self, file: Path, label: int, image_id: str, region: Region) -> None:
        """Append an image, or report that its file is missing."""
        if not file.is_file():
            self._faults.report(MissingDataError(
                f"{file}: listed in {self._source} but missing; restore it or pass --skip-broken"
            ))  # fmt: skip
            return
        self.files.append(file)
        self._labels.append(label)
        self._image_ids.append(image_id)
        self._regions.append(region)

    def index(self, *, has_regions: bool, digest: str, notes: tuple[str, ...] = ()) -> SplitIndex:
        """Return the index of the collected images."""
        return SplitIndex(
            labels=np.array(self._labels, dtype=np.int64),
            image_ids=tuple(self._image_ids),
            files=tuple(self.files),
            regions=tuple(self._regions) if has_regions else None,
            digest=digest,
            notes=notes,
        )


class Reader(NamedTuple):
    """Functions that read one layout.

    `splits(folder, card)` returns the names of the available splits; `read(folder, split, card,
    faults)` returns the index of one split.
    """

    splits: Callable[[Path, DatasetCard], tuple[str, ...]]
    read: Callable[[Path, str, DatasetCard, Faults], SplitIndex]


READERS: Registry[Reader] = Registry("dataset layout", __name__)


def digest_of(parts: Iterable[bytes | str]) -> str:
    """Return the hex SHA-256 of `parts`; each part is prefixed by its length."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()
