"""Atomic file writes (temporary file, fsync, rename) and readers that verify checksums."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lico_bench.errors import BrokenFileError, DiskFullError, MissingDataError
from lico_bench.store.codec import REMEDY, T, decode, encode_value
from lico_bench.store.digests import (
    EMPTY_STAMP,
    PARQUET_KEY,
    has_valid_stamp,
    stamp_parquet,
)
from lico_bench.store.stale_files import part_prefix

# Disk full, quota exceeded, file size limit exceeded.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PARQUET = {"compression": "zstd", "write_page_checksum": True}


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Convert out-of-space errors of the system into a `DiskFullError` that names `path`."""
    try:
        yield
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise DiskFullError(
            f"{path}: not enough disk space to write it ({os.strerror(error.errno)}); free some "
            "space and repeat the same command, which resumes from the stored files"
        ) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the block succeeds, else is removed.

    Raises:
        DiskFullError: if the disk is full; an existing `path` is kept.
    """
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=part_prefix(path.name), suffix=".part", dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)  # mkstemp makes it private; a run folder is shared by a team
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` by atomic rename."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write `value`, a record or plain JSON values, as indented JSON by atomic rename.

    Raises:
        ValueError: for NaN or infinity.
    """
    write_bytes(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """Return `value` encoded as in `write_json`."""
    text = json.dumps(encode_value(value), indent=2, sort_keys=True, allow_nan=False)
    return f"{text}\n".encode()


def read_json(path: Path) -> object:
    """Return the content of a JSON file.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingDataError(f"no such file: {path}") from error
    # Including integers with too many digits (ValueError) and deep nesting (RecursionError).
    except (ValueError, RecursionError, OSError) as error:
        raise BrokenFileError(
            f"{path}: not readable as JSON ({error}); delete it and run again"
        ) from error


def read_record(kind: type[T], path: Path, *, remedy: str = REMEDY) -> T:
    """Return the record of class `kind` in a JSON file.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is not JSON, or does not match the class; it then ends in `remedy`.
    """
    return decode(kind, read_json(path), path, remedy=remedy)


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
