"""Registry of dataset layout readers, the index that a reader returns, and what readers share.

Each module of this package registers the reader of one layout. A reader lists labels and files of
a split; it decodes no image. Lists are untrusted: class numbers, names and paths are checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lico_bench.data.cards import DatasetCard
from lico_bench.errors import BrokenFileError, LicoBenchError, MissingDataError
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


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line number, from 1, and text of each non-blank line of `path`.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is not UTF-8 text.
    """
    try:
        text = require_file(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"{path}: not a text file ({error}); unpack it again") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def read_pairs(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the `<key> <value>` lines of `path` as (location for messages, key, value)."""
    for number, line in read_lines(path):
        key, _, value = line.partition(" ")
        if not value:
            raise BrokenFileError(
                f"{path}, line {number}: expected '<key> <value>', got '{line}'; unpack it again"
            )
        yield f"{path}, line {number}", key, value.strip()


def require_file(path: Path) -> Path:
    """Return `path` if it is a non-empty file.

    Raises:
        MissingDataError: if the file does not exist.
        BrokenFileError: if it is empty.
    """
    if not path.is_file():
        raise MissingDataError(
            f"{path}: file missing; unpack the official archive again or correct --data-root"
        )
    if path.stat().st_size == 0:
        raise BrokenFileError(f"{path}: the file is empty; unpack the official archive again")
    return path


def require_folder(path: Path) -> Path:
    """Return `path` if it is a folder.

    Raises:
        MissingDataError: if the folder does not exist.
    """
    if not path.is_dir():
        raise MissingDataError(
            f"{path}: folder missing; unpack the official archive again or correct --data-root"
        )
    return path


def safe_join(folder: Path, name: str, location: str) -> Path:
    """Return `folder / name` for an untrusted relative path `name`.

    Args:
        location: where `name` was read, for messages.

    Raises:
        BrokenFileError: for an absolute path, a path with `..`, or control characters.
    """
    pure = PurePosixPath(name.replace("\\", "/"))
    has_control = any(ord(character) < ord(" ") for character in name)
    is_outside = pure.is_absolute() or ".." in pure.parts
    if is_outside or not pure.parts or ":" in pure.parts[0] or has_control:
        raise BrokenFileError(
            f"{location}: path '{name}' leads out of {folder}; "
            "take the list from the official archive"
        )
    return folder.joinpath(*pure.parts)


def parse_label(value: Any, card: DatasetCard, location: str, *, first: int) -> int:
    """Convert a stored class number to a label from 0; the dataset counts from `first`.

    Raises:
        BrokenFileError: if it is not an integer or outside the card's classes.
    """
    try:
        label = int(value) - first
    except (TypeError, ValueError) as error:
        raise BrokenFileError(
            f"{location}: expected a class number, got {value!r}; "
            "take the list from the official archive"
        ) from error
    if not 0 <= label < len(card.class_names):
        raise BrokenFileError(
            f"{location}: class {value} is outside the {len(card.class_names)} classes of "
            f"{card.title} ({first} to {first + len(card.class_names) - 1}); "
            "take the list from the official archive"
        )
    return label


def check_class_names(
    path: Path, names: list[str], card: DatasetCard, convert: Callable[[str], str] = str
) -> None:
    """Check that the class names read from `path` equal the card's, in the same order.

    Args:
        convert: applied to each name in `names` before the comparison.

    Raises:
        BrokenFileError: names the first class that differs.
    """
    if len(names) != len(card.class_names):
        raise BrokenFileError(
            f"{path}: expected {len(card.class_names)} class names as in the card of "
            f"{card.title}, got {len(names)}; take the file from the official archive"
        )
    for number, (name, expected) in enumerate(zip(names, card.class_names, strict=True)):
        if normalise_name(convert(name)) != normalise_name(expected):
            raise BrokenFileError(
                f"{path}: class {number}: expected '{expected}' as in the card of {card.title}, "
                f"got '{name}'; take the file from the official archive or correct the card"
            )


def normalise_name(name: str) -> str:
    """Return a class name with lower case and single blanks, for comparisons."""
    return " ".join(name.replace("_", " ").casefold().split())
