"""SVHN, cropped digits (format 2): one MATLAB file per split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lico_bench.data.binary_files import read_mat
from lico_bench.data.cards import DatasetCard
from lico_bench.data.readers import READERS, Faults, Reader, SplitIndex, parse_label
from lico_bench.errors import BrokenFileError

SIDE_PX = 32


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return the splits whose file exists."""
    return tuple(split for split in ("train", "test") if _file(folder, split).exists())


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read all digits of `split` in the file's order; the file stores the digit 0 as 10."""
    path = _file(folder, split)
    pixels, digits = read_mat(path, "X"), read_mat(path, "y")
    if pixels.ndim == 3:
        pixels = pixels[..., None]  # a single image: `read_mat` removes axes of length one
    shape = (SIDE_PX, SIDE_PX, 3, len(digits))
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise BrokenFileError(
            f"{path}: expected X of shape {shape} and type uint8, one image per entry of y, "
            f"got {pixels.shape} {pixels.dtype}; unpack the official file again"
        )
    labels = [
        parse_label(0 if value == 10 else value, card, f"{path}, image {i}", first=0)
        for i, value in enumerate(digits)
    ]
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(f"{split}/{i:06d}" for i in range(len(labels))),
        pixels=np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)),
    )


def _file(folder: Path, split: str) -> Path:
    return folder / f"{split}_32x32.mat"


READERS.add("svhn_mat", Reader(splits, read))
