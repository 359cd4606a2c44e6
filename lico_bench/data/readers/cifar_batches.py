"""CIFAR-10 and CIFAR-100 as Python archives: pickled batches of raw pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lico_bench.data.binary_files import read_pickle
from lico_bench.data.cards import DatasetCard
from lico_bench.data.readers import (
    READERS,
    Faults,
    Reader,
    SplitIndex,
    check_class_names,
    digest_of,
    parse_label,
)
from lico_bench.errors import BrokenFileError, LicoBenchError

SIDE_PX = 32
BYTES_PER_IMAGE = 3 * SIDE_PX**2


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return train in any case, so that its absence is an error, and test if its file exists."""
    base = folder / card.markers[0]
    has_test = any((base / name).exists() for name in card.layout_files["test"])
    return ("train", "test") if has_test else ("train",)


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read all batches of `split` in the archive's order."""
    base = folder / card.markers[0]
    files = card.layout_files
    meta = base / files["meta"]
    names: Any = read_pickle(meta).get(files["names"])
    if not isinstance(names, list):
        raise BrokenFileError(f"{meta}: list '{files['names']}' missing; unpack the archive again")
    check_class_names(meta, [v.decode() if isinstance(v, bytes) else str(v) for v in names], card)
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
    all_labels = np.concatenate(labels)
    return SplitIndex(
        labels=all_labels,
        image_ids=tuple(f"{split}/{i:05d}" for i in range(len(all_labels))),
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
    numbers = [parse_label(v, card, f"{path}, image {i}", first=0) for i, v in enumerate(labels)]
    return np.asarray(data).reshape(-1, 3, SIDE_PX, SIDE_PX), np.array(numbers, dtype=np.int64)


READERS.add("cifar_batches", Reader(splits, read))
