"""Files that appear whole or not at all: written beside their place, synced, renamed."""

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
from lico_bench.store.digests import (
    EMPTY_STAMP,
    PARQUET_KEY,
    has_valid_stamp,
    stamp_parquet,
)
from lico_bench.store.stale_files import part_prefix

# No block left, over one's quota, larger than a file may be.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PARQUET = {"compression": "zstd", "write_page_checksum": True}


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turn the system's word for no room into a `DiskFullError` that names `path`."""
    try:
        yield
    except DiskFullError:
        raise
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise DiskFullError(
            f"{path}: no room to write it ({os.strerror(error.errno)}); free some space and "
            "repeat the same command, which goes on from what is stored"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` if the block ends well and vanishes if it does not.

    Raises:
        DiskFullError: if there is no room; what was at `path` stays.
    """
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=part_prefix(path.name), suffix=".part", dir=path.parent
        )
        os.close(handle)
        part = Path(name)
        try:
            yield part
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.chmod(0o644)  # mkstemp makes it private; a run folder is shared by a team
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` by atomic rename."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON by atomic rename; NaN is refused."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """`value` as it stands in a JSON file."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingDataError(f"no such file: {path}") from error
    # Also numbers too long to read, and brackets in brackets without an end.
    except (ValueError, RecursionError, OSError) as error:
        raise BrokenFileError(
            f"{path}: not readable as JSON ({error}); delete it and run again"
        ) from error


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write `frame` as Parquet with checksums by atomic rename."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    with replacing(path) as part:
        with _stamped_writer(part, table.schema) as out:
            out.write_table(table)
        stamp_parquet(part)


def pack_parquet(source: Path, path: Path) -> None:
    """Copy the rows of a Parquet file in as few bytes as they fit in, for a repository.

    Numbers are split into their bytes before they are compressed, which halves them.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is no whole Parquet file, or not what was written.
    """
    with _damage_told(source):
        table = _read_table(source)
    numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    packing = {
        "compression_level": 19,
        "use_dictionary": [name for name in table.column_names if name not in numbers],
        "column_encoding": dict.fromkeys(numbers, "BYTE_STREAM_SPLIT"),
    }
    with replacing(path) as part:
        with _stamped_writer(part, table.schema, **packing) as out:
            out.write_table(table)
        stamp_parquet(part)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of a Parquet file, of all columns or some; its checksums are verified.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is no whole Parquet file, or not what was written.
    """
    with _damage_told(path):
        frame: pd.DataFrame = _read_table(path, columns).to_pandas()
        return frame


def read_arrow(path: Path, columns: Sequence[str], *, texts: Sequence[str] = ()) -> Any:
    """The columns of a Parquet file that are there of those named, as an Arrow table.

    Args:
        texts: columns whose texts are read as numbers and a dictionary.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is no whole Parquet file, or not what was written.
    """
    with _damage_told(path):
        there = pq.read_schema(path).names
        table = _read_table(path, [name for name in columns if name in there], texts)
        table.validate(full=True)
        table.slice(0, 0).to_pandas()  # what is told of the columns can be damaged, too
        return table


def merge_parquet(parts: Sequence[Path], path: Path, *, without: Sequence[str] = ()) -> int:
    """Join Parquet files into `path`, one after the other in bounded memory; the number of rows.

    Columns that are empty in one part take their type from the others.

    Args:
        without: values of the column `metric` whose rows are left out.

    Raises:
        BrokenFileError: if a part is no whole Parquet file, or of other columns.
        DiskFullError: if there is no room.
    """
    count = 0
    try:
        schema = pa.unify_schemas(
            [pq.read_schema(part).remove_metadata() for part in parts],
            promote_options="permissive",
        )
        with replacing(path) as whole:
            with _stamped_writer(whole, schema) as out:
                for part in parts:
                    table = _read_table(part)
                    if without:
                        is_dropped = pc.is_in(table["metric"], value_set=pa.array(list(without)))
                        table = table.filter(pc.invert(is_dropped))
                    out.write_table(table.replace_schema_metadata(None).cast(schema))
                    count += table.num_rows
            stamp_parquet(whole)
    except DiskFullError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenFileError(
            f"{path.parent}: parts that do not fit together ({error}); "
            "delete them and run the same command again"
        ) from error
    return count


@contextmanager
def _stamped_writer(path: Path, schema: Any, **packing: Any) -> Iterator[Any]:
    """A writer that keeps a place for the file's digest in its footer."""
    with pq.ParquetWriter(path, schema, **{**PARQUET, **packing}) as out:
        yield out
        out.add_key_value_metadata({PARQUET_KEY: EMPTY_STAMP})


def _read_table(path: Path, columns: Sequence[str] | None = None, texts: Sequence[str] = ()) -> Any:
    if not has_valid_stamp(path):
        raise ValueError(f"{path.name}: not what was written")
    return pq.read_table(
        path,
        partitioning=None,
        columns=None if columns is None else list(columns),
        read_dictionary=list(texts) or None,
        page_checksum_verification=True,
        use_threads=False,  # of a cell's table: 3 ms in one thread, 11 in two
    )


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """What the library raises for a file that is not there or not whole, as our own errors."""
    try:
        yield
    except FileNotFoundError as error:
        raise MissingDataError(f"no such file: {path}") from error
    # A damaged description of the columns gives Python's own errors of texts, keys and types.
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenFileError(
            f"{path}: not a whole Parquet file; delete it and run the same command again"
        ) from error
