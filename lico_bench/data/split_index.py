"""What a reader gives back: one split as its files say, before anything is decoded or drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lico_bench.checks import is_plain
from lico_bench.data.cards import DatasetCard
from lico_bench.data.regions import Region
from lico_bench.errors import BrokenFileError, LicoBenchError


@dataclass(frozen=True)
class SplitIndex:
    """One split: either `pixels` (small images) or one of `files` per image.

    Attributes:
        labels: (N,) int64 in the card's class order.
        image_ids: stable and unique within the dataset.
        pixels: (N, 3, H, W) uint8, or None.
        files: a path, or the encoded bytes themselves, per image; empty with `pixels`.
        regions: where the object is, per image, or None without ground truth.
        digest: hash of the index files, so that a changed list changes the data's fingerprint.
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
        """The images at `indices`, in that order."""
        return replace(
            self,
            labels=self.labels[indices],
            image_ids=tuple(self.image_ids[i] for i in indices),
            pixels=None if self.pixels is None else self.pixels[indices],
            files=tuple(self.files[i] for i in indices) if self.files else (),
            regions=None if self.regions is None else tuple(self.regions[i] for i in indices),
        )


class Faults:
    """What to do with one broken entry of many: raise at once, or skip it and keep the sentence."""

    def __init__(self, *, skip: bool) -> None:
        self.skip = skip
        self.sentences: list[str] = []

    def report(self, error: LicoBenchError) -> None:
        """Raise `error`, or record it if broken entries are to be skipped."""
        if not self.skip:
            raise error
        self.sentences.append(str(error))


class Reader(NamedTuple):
    """How one layout is read.

    `splits(folder, card)` names the splits whose files are there; `read(folder, split, card,
    faults)` lists one of them.
    """

    splits: Callable[[Path, DatasetCard], tuple[str, ...]]
    read: Callable[[Path, str, DatasetCard, Faults], SplitIndex]


def check_ids(folder: Path, image_ids: Iterable[str]) -> None:
    """Raise unless every image's name can be shown, stored and compared.

    Raises:
        BrokenFileError: for control signs, or a name that is no UTF-8.
    """
    odd = next((name for name in image_ids if not is_plain(name)), None)
    if odd is not None:
        raise BrokenFileError(
            f"{folder}: an image is called '{odd}', with control signs or letters that are no "
            "UTF-8; rename it"
        )


def digest_of(parts: Iterable[bytes | str]) -> str:
    """Hex SHA-256 over `parts`, each with its length, so that no two lists collide."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()
