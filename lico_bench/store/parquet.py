"""Parquet files with checksums: reading, writing, merging and packing.

A file holds its own SHA-256 in its footer, computed with the digest's bytes set to "0". The page
checksums of Parquet do not cover the names, counts and offsets between the pages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lico_bench.errors import BrokenFileError, DiskFullError, MissingDataError
from lico_bench.store.files import atomic_write

PARQUET = {"compression": "zstd", "write_page_checksum": True}
PARQUET_KEY = "lico_bench.sha256"
EMPTY_STAMP = "0" * 64
_CHUNK = 1 << 20
_FOOTER_END = 8  # bytes: footer length (4) and magic number (4)
_MAGIC = b"PAR1"
_FIELD_HEAD = 2  # bytes between a key and its value in the footer: field type, length


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write `frame` as Parquet with checksums by atomic rename."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with _stamped_writer(path, table.schema) as writer:
        writer.write_table(table)


def pack_parquet(source: Path, path: Path) -> None:
    """Copy a Parquet file with strong compression, for a repository.

    Byte-stream split encoding halves the size of floating-point columns.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is damaged or not a Parquet file.
    """
    with _parquet_errors(source):
        table = _read_table(source)
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    options = {
        "compression_level": 19,
        "use_dictionary": [name for name in table.column_names if name not in floats],
        "column_encoding": dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
    }
    with _stamped_writer(path, table.schema, **options) as writer:
        writer.write_table(table)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the rows of a Parquet file, with all columns or some; checksums are verified.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is damaged or not a Parquet file.
    """
    with _parquet_errors(path):
        frame: pd.DataFrame = _read_table(path, columns).to_pandas()
        return frame


def read_arrow(path: Path, columns: Sequence[str], *, texts: Sequence[str] = ()) -> pa.Table:
    """Return those of `columns` that a Parquet file has, as an Arrow table.

    Args:
        texts: text columns that are read dictionary-encoded.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is damaged or not a Parquet file.
    """
    with _parquet_errors(path):
        present = pq.read_schema(path).names
        table = _read_table(path, [name for name in columns if name in present], texts)
        table.validate(full=True)
        table.slice(0, 0).to_pandas()  # fails if the column metadata is damaged
        return table


def merge_parquet(parts: Sequence[Path], path: Path, *, without: Sequence[str] = ()) -> int:
    """Concatenate Parquet files into `path` in bounded memory and return the number of rows.

    A column that is empty in one part takes its type from the others.

    Args:
        without: values of the column `metric` whose rows are dropped.

    Raises:
        BrokenFileError: if a part is damaged, or its columns do not match those of the others.
        DiskFullError: if the disk is full.
    """
    count = 0
    try:
        schema = pa.unify_schemas(
            [pq.read_schema(part).remove_metadata() for part in parts],
            promote_options="permissive",
        )
        with _stamped_writer(path, schema) as writer:
            for part in parts:
                table = _without_metrics(_read_table(part), without)
                writer.write_table(table.replace_schema_metadata(None).cast(schema))
                count += table.num_rows
    except DiskFullError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenFileError(
            f"{path.parent}: cannot merge the stored parts ({error}); "
            "delete them and run the same command again"
        ) from error
    return count


def _without_metrics(table: pa.Table, dropped: Sequence[str]) -> pa.Table:
    if not dropped:
        return table
    is_dropped = pc.is_in(table["metric"], value_set=pa.array(list(dropped)))
    return table.filter(pc.invert(is_dropped))


@contextmanager
def _stamped_writer(path: Path, schema: pa.Schema, **options: Any) -> Iterator[pq.ParquetWriter]:
    """Yield a writer of a Parquet file with its own digest, which replaces `path` at the end."""
    with atomic_write(path) as temporary:
        with pq.ParquetWriter(temporary, schema, **{**PARQUET, **options}) as writer:
            yield writer
            writer.add_key_value_metadata({PARQUET_KEY: EMPTY_STAMP})
        stamp_parquet(temporary)


def _read_table(
    path: Path, columns: Sequence[str] | None = None, texts: Sequence[str] = ()
) -> pa.Table:
    if not has_valid_stamp(path):
        raise ValueError(f"{path.name}: does not match its checksum")
    return pq.read_table(
        path,
        partitioning=None,
        columns=None if columns is None else list(columns),
        read_dictionary=list(texts) or None,
        page_checksum_verification=True,
        use_threads=False,  # a cell's table takes 3 ms with one thread, 11 ms with two
    )


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    """Convert errors of the Parquet library into `MissingDataError` and `BrokenFileError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingDataError(f"no such file: {path}") from error
    # Damaged column metadata raises ValueError, KeyError or TypeError.
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenFileError(
            f"{path}: damaged or not a Parquet file; delete it and run the same command again"
        ) from error


def stamp_parquet(path: Path) -> None:
    """Write the digest of a Parquet file into the entry reserved in its footer."""
    with path.open("r+b") as file:
        offset = _stamp_offset(file)
        if offset is None:
            raise ValueError(f"{path}: expected a footer entry {PARQUET_KEY}, got none")
        digest = _digest_with_empty_stamp(file, offset)
        file.seek(offset)
        file.write(digest.encode())


def has_valid_stamp(path: Path) -> bool:
    """Return whether a Parquet file matches its digest; True if it has none.

    Raises:
        ValueError: if it is not a complete Parquet file.
    """
    with path.open("rb") as file:
        offset = _stamp_offset(file)
        if offset is None:
            return True
        file.seek(offset)
        stored = file.read(len(EMPTY_STAMP))
        return stored == _digest_with_empty_stamp(file, offset).encode()


def _stamp_offset(file: BinaryIO) -> int | None:
    """Return the offset of the 64-character digest, or None if the footer has no such entry."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _FOOTER_END))
    end = file.read()
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or not 0 < length <= size - _FOOTER_END:
        raise ValueError("not a complete Parquet file")
    start = size - _FOOTER_END - length
    file.seek(start)
    position = file.read(length).rfind(PARQUET_KEY.encode())
    return None if position < 0 else start + position + len(PARQUET_KEY) + _FIELD_HEAD


def _digest_with_empty_stamp(file: BinaryIO, offset: int) -> str:
    """Return the SHA-256 of a file with its digest at `offset` replaced by `EMPTY_STAMP`."""
    digest = hashlib.sha256()
    file.seek(0)
    remaining = offset
    while remaining > 0:
        chunk = file.read(min(_CHUNK, remaining))
        if not chunk:
            break
        digest.update(chunk)
        remaining -= len(chunk)
    digest.update(EMPTY_STAMP.encode())
    file.seek(offset + len(EMPTY_STAMP))
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
