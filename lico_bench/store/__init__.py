"""Rows on disk: files that appear whole or not at all, and the layout of a run folder."""

from lico_bench.store.cell_folder import SCORE_TABLES, CellFolder
from lico_bench.store.files import (
    merge_parquet,
    read_json,
    read_parquet,
    write_bytes,
    write_json,
    write_parquet,
)
from lico_bench.store.integrity import (
    Damage,
    check_cell,
    mend_cell,
    seal_cell,
    set_aside,
)
from lico_bench.store.leftovers import sweep_leftovers
from lico_bench.store.lock import RunLock
from lico_bench.store.run_folder import (
    RunFolder,
    newest_run,
    read_run,
)

__all__ = [
    "SCORE_TABLES",
    "CellFolder",
    "Damage",
    "RunFolder",
    "RunLock",
    "check_cell",
    "mend_cell",
    "merge_parquet",
    "newest_run",
    "read_json",
    "read_parquet",
    "read_run",
    "seal_cell",
    "set_aside",
    "sweep_leftovers",
    "write_bytes",
    "write_json",
    "write_parquet",
]
