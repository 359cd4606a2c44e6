"""Files that appear whole or not at all: written beside their place, synced, renamed."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lico_bench.errors import BrokenFileError, MissingDataError

LEFTOVER_AGE_S = 3600


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` if the block ends well and vanishes if it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
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


def sweep_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written under `folder` more than an hour ago.

    Younger ones may belong to a process that is at work, here or on another machine.
    """
    oldest = time.time() - LEFTOVER_AGE_S
    for part in folder.rglob(".*.part"):
        if part.exists() and part.stat().st_mtime < oldest:
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` by atomic rename."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON by atomic rename; NaN is refused."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingDataError(f"no such file: {path}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BrokenFileError(
            f"{path}: not readable as JSON ({error}); delete it and run again"
        ) from error


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write `frame` as Parquet by atomic rename."""
    with replacing(path) as part:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), part, compression="zstd")


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of a Parquet file, of all columns or some.

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it is no whole Parquet file.
    """
    try:
        frame: pd.DataFrame = pq.read_table(
            path, partitioning=None, columns=None if columns is None else list(columns)
        ).to_pandas()
        return frame
    except FileNotFoundError as error:
        raise MissingDataError(f"no such file: {path}") from error
    # A damaged description of the columns gives Python's own errors of texts and keys.
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise BrokenFileError(
            f"{path}: not a whole Parquet file; delete it and run the same command again"
        ) from error


def merge_parquet(parts: Sequence[Path], path: Path, *, without: Sequence[str] = ()) -> int:
    """Join Parquet files into `path`, one after the other in bounded memory; the number of rows.

    Columns that are empty in one part take their type from the others.

    Args:
        without: values of the column `metric` whose rows are left out.

    Raises:
        BrokenFileError: if a part is no whole Parquet file, or of other columns.
    """
    count = 0
    try:
        schema = pa.unify_schemas(
            [pq.read_schema(part).remove_metadata() for part in parts],
            promote_options="permissive",
        )
        with replacing(path) as whole, pq.ParquetWriter(whole, schema, compression="zstd") as out:
            for part in parts:
                table = pq.read_table(part, partitioning=None)
                if without:
                    is_dropped = pc.is_in(table["metric"], value_set=pa.array(list(without)))
                    table = table.filter(pc.invert(is_dropped))
                out.write_table(table.replace_schema_metadata(None).cast(schema))
                count += table.num_rows
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError, ValueError) as error:
        raise BrokenFileError(
            f"{path.parent}: parts that do not fit together ({error}); "
            "delete them and run the same command again"
        ) from error
    return count
