"""Storage of results: atomic file writes, checksums and the layout of a run folder.

Exported names are imported lazily, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lico_bench.registry import lazy_getattr

if TYPE_CHECKING:
    from lico_bench.store.cell_folder import SCORE_TABLES, CellFolder
    from lico_bench.store.files import (
        Damage,
        read_json,
        remove_stale_files,
        write_bytes,
        write_json,
    )
    from lico_bench.store.integrity import (
        check_cell,
        quarantine_damage,
        repair_cell,
        seal_cell,
    )
    from lico_bench.store.lock import RunLock
    from lico_bench.store.parquet import merge_parquet, read_parquet, write_parquet
    from lico_bench.store.run_folder import (
        RunFolder,
        newest_run,
        read_run,
    )

_HOMES = {
    "CellFolder": "cell_folder",
    "Damage": "files",
    "RunFolder": "run_folder",
    "RunLock": "lock",
    "SCORE_TABLES": "cell_folder",
    "check_cell": "integrity",
    "merge_parquet": "parquet",
    "newest_run": "run_folder",
    "quarantine_damage": "integrity",
    "read_json": "files",
    "read_parquet": "parquet",
    "read_run": "run_folder",
    "remove_stale_files": "files",
    "repair_cell": "integrity",
    "seal_cell": "integrity",
    "write_bytes": "files",
    "write_json": "files",
    "write_parquet": "parquet",
}

__all__ = [
    "SCORE_TABLES",
    "CellFolder",
    "Damage",
    "RunFolder",
    "RunLock",
    "check_cell",
    "merge_parquet",
    "newest_run",
    "quarantine_damage",
    "read_json",
    "read_parquet",
    "read_run",
    "remove_stale_files",
    "repair_cell",
    "seal_cell",
    "write_bytes",
    "write_json",
    "write_parquet",
]

__getattr__ = lazy_getattr(__name__, _HOMES)
