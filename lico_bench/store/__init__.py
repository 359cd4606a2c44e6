"""Rows on disk: files that appear whole or not at all, and the layout of a run folder."""

from lico_bench.store.files import (
    merge_parquet,
    read_json,
    read_parquet,
    sweep_leftovers,
    write_bytes,
    write_json,
    write_parquet,
)
from lico_bench.store.run_folder import (
    SCORE_TABLES,
    CellFolder,
    RunFolder,
    newest_run,
    read_run,
)

__all__ = [
    "SCORE_TABLES",
    "CellFolder",
    "RunFolder",
    "merge_parquet",
    "newest_run",
    "read_json",
    "read_parquet",
    "read_run",
    "sweep_leftovers",
    "write_bytes",
    "write_json",
    "write_parquet",
]
