"""The public hub's Parquet form: encoded images in `img` or `image`, numbers in `label`.

The encoded images are held in memory; unpack a very large set to class folders instead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lico_bench.data.cards import DatasetCard
from lico_bench.data.index_files import check_names, label_of
from lico_bench.data.readers import READERS
from lico_bench.data.split_index import Faults, Reader, SplitIndex, digest_of
from lico_bench.errors import BrokenFileError, MissingDataError

STEMS = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}
IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label", "labels")


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Those with a file; validation serves as test where there is none."""
    found = tuple(split for split in STEMS if _files(folder, split))
    if "val" in found and "test" not in found:
        return tuple("test" if split == "val" else split for split in found)
    return found


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """All rows of `split`, files in alphabetical order."""
    paths = _files(folder, split)
    notes: tuple[str, ...] = ()
    if split == "test" and not paths:
        paths = _files(folder, "val")
        notes = (f"{card.title}: no test file; the validation file serves as test",)
    if not paths:
        raise MissingDataError(f"{folder}: no {split}-*.parquet; expected one file or several")
    encoded: list[Path | bytes] = []
    labels: list[int] = []
    for path in paths:
        images, numbers = _read_file(path, card)
        encoded += images
        labels += [
            label_of(value, card, f"{path}, row {row}", first=0)
            for row, value in enumerate(numbers)
        ]
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(f"{split}/{i:05d}" for i in range(len(labels))),
        files=tuple(encoded),
        digest=digest_of(path.name for path in paths),
        notes=notes,
    )


def _files(folder: Path, split: str) -> list[Path]:
    return sorted(
        path
        for place in (folder, folder / "data")
        for stem in STEMS[split]
        for path in place.glob(f"{stem}-*.parquet")
    )


def _read_file(path: Path, card: DatasetCard) -> tuple[list[bytes], list[Any]]:
    try:
        schema = pq.read_schema(path)
        image = _column(path, schema, IMAGE_COLUMNS)
        label = _column(path, schema, LABEL_COLUMNS)
        table = pq.read_table(path, columns=[image, label], partitioning=None)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise BrokenFileError(
            f"{path}: not a whole Parquet file ({str(error).splitlines()[0]}); download it again"
        ) from error
    _check_schema_names(path, schema, label, card)
    rows = table.column(image).to_pylist()
    encoded: list[bytes] = []
    for number, row in enumerate(rows):
        content = row.get("bytes") if isinstance(row, dict) else row
        if not isinstance(content, bytes):
            raise BrokenFileError(
                f"{path}, row {number}: column '{image}' holds no encoded image; "
                "export the dataset with its images embedded"
            )
        encoded.append(content)
    return encoded, table.column(label).to_pylist()


def _column(path: Path, schema: pa.Schema, names: tuple[str, ...]) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise BrokenFileError(
        f"{path}: expected a column {' or '.join(names)}, got {', '.join(schema.names)}"
    )


def _check_schema_names(path: Path, schema: pa.Schema, label: str, card: DatasetCard) -> None:
    """The hub writes the class names into the file; where it did, they must be the card's."""
    written = (schema.metadata or {}).get(b"huggingface")
    if written is None:
        return
    try:
        names = json.loads(written)["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return  # no names were written, which is not an error
    check_names(path, [str(name) for name in names], card)


READERS.add("hub_parquet", Reader(splits, read))
