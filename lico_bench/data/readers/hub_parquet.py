"""Hugging Face Parquet files: encoded images in `img` or `image`, class numbers in `label`.

The encoded images are held in memory; unpack very large datasets to class folders instead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lico_bench.data.cards import DatasetCard
from lico_bench.data.find_files import PARQUET_STEMS, parquet_files
from lico_bench.data.readers import (
    READERS,
    Faults,
    Reader,
    SplitIndex,
    check_class_names,
    digest_of,
    parse_label,
)
from lico_bench.errors import BrokenFileError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("fine_label", "label", "labels")


def splits(folder: Path, card: DatasetCard) -> tuple[str, ...]:
    """Return the splits with a file; validation serves as test if there is no test file."""
    present = tuple(split for split in PARQUET_STEMS if parquet_files(folder, split))
    if "val" in present and "test" not in present:
        return tuple("test" if split == "val" else split for split in present)
    return present


def read(folder: Path, split: str, card: DatasetCard, faults: Faults) -> SplitIndex:
    """Read all rows of `split`, files in alphabetical order."""
    paths = parquet_files(folder, split)
    notes: tuple[str, ...] = ()
    if split == "test" and not paths:
        paths = parquet_files(folder, "val")
        notes = (f"{card.title}: no test file; the validation file serves as test",)
    encoded: list[Path | bytes] = []
    labels: list[int] = []
    for path in paths:
        images, numbers = _read_file(path, card)
        encoded += images
        labels += [
            parse_label(value, card, f"{path}, row {row}", first=0)
            for row, value in enumerate(numbers)
        ]
    return SplitIndex(
        labels=np.array(labels, dtype=np.int64),
        image_ids=tuple(f"{split}/{i:05d}" for i in range(len(labels))),
        files=tuple(encoded),
        digest=digest_of(path.name for path in paths),
        notes=notes,
    )


def _read_file(path: Path, card: DatasetCard) -> tuple[list[bytes], list[Any]]:
    try:
        schema = pq.read_schema(path)
        image = _find_column(path, schema, IMAGE_COLUMNS)
        label = _find_column(path, schema, LABEL_COLUMNS)
        table = pq.read_table(path, columns=[image, label], partitioning=None)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise BrokenFileError(
            f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}); download it again"
        ) from error
    _check_stored_names(path, schema, label, card)
    rows = table.column(image).to_pylist()
    encoded: list[bytes] = []
    for number, row in enumerate(rows):
        content = row.get("bytes") if isinstance(row, dict) else row
        if not isinstance(content, bytes):
            raise BrokenFileError(
                f"{path}, row {number}: expected an encoded image in column '{image}', got none; "
                "export the dataset with its images embedded"
            )
        encoded.append(content)
    return encoded, table.column(label).to_pylist()


def _find_column(path: Path, schema: pa.Schema, names: tuple[str, ...]) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise BrokenFileError(
        f"{path}: expected a column {' or '.join(names)}, got {', '.join(schema.names)}; "
        "rename the column"
    )


def _check_stored_names(path: Path, schema: pa.Schema, label: str, card: DatasetCard) -> None:
    """Check the class names in the file's Hugging Face metadata, if there are any."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return
    try:
        names = json.loads(metadata)["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return  # class names are optional
    check_class_names(path, [str(name) for name in names], card)


READERS.add("hub_parquet", Reader(splits, read))
