"""CIFAR-10 and CIFAR-100 as the Python archives unpack: pickled batches of raw pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lico_bench.data.cards import DatasetCard
from lico_bench.data.index_files import check_names, label_of, read_pickle
from lico_bench.data.readers import READERS
from lico_bench.data.split_index import Faults, Reader, SplitIndex, digest_of
from lico_bench.errors import BrokenFileError, LicoBenchError

SIDE_PX = 32
BYTES_PER_IMAGE = 3 * SIDE_PX**2


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Train always, so that its absence is an error; test if its file is there."""
    base = folder / card.markers[0]
    has_test = any((base / name).exists() for name in card.layout_files["test"])
    return ("train", "test") if has_test else ("train",)


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """All batches of `split`, in the archive's order."""
    base = folder / card.markers[0]
    files = card.layout_files
    meta = base / files["meta"]
    check_names(meta, _names(meta, files["names"]), card)
    pixels, labels = [], []
    for name in files[split]:
        try:
            batch_pixels, batch_labels = _read_batch(base / name, card)
        except LicoBenchError as error:
            faults.report(error)
            continue
        pixels.append(batch_pixels)
        labels.append(batch_labels)
    if not labels:
        raise BrokenFileError(f"{base}: no readable batch of {split}; unpack the archive again")
    joined = np.concatenate(labels)
    return SplitIndex(
        labels=joined,
        image_ids=tuple(f"{split}/{i:05d}" for i in range(len(joined))),
        pixels=np.concatenate(pixels),
        digest=digest_of([meta.read_bytes()]),
    )


def _read_batch(path: Path, card: DatasetCard) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    batch = read_pickle(path)
    key = card.layout_files["labels"]
    if key not in batch or "data" not in batch:
        raise BrokenFileError(
            f"{path}: expected 'data' and '{key}', got {sorted(batch)}; unpack the archive again"
        )
    data, labels = batch["data"], batch[key]
    if getattr(data, "dtype", None) != np.uint8 or data.shape != (len(labels), BYTES_PER_IMAGE):
        raise BrokenFileError(
            f"{path}: expected ({len(labels)}, {BYTES_PER_IMAGE}) bytes, one row per label, got "
            f"{getattr(data, 'shape', type(data).__name__)}; unpack the archive again"
        )
    numbers = [label_of(v, card, f"{path}, image {i}", first=0) for i, v in enumerate(labels)]
    return data.reshape(-1, 3, SIDE_PX, SIDE_PX), np.array(numbers, dtype=np.int64)


def _names(meta: Path, key: str) -> list[str]:
    names: Any = read_pickle(meta).get(key)
    if not isinstance(names, list):
        raise BrokenFileError(f"{meta}: has no list '{key}'; unpack the archive again")
    return [v.decode() if isinstance(v, bytes) else str(v) for v in names]


READERS.add("cifar_batches", Reader(splits, read))
